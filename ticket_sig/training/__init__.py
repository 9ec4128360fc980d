"""How a network is trained: the recipe, its steps, the loop, and checkpoints that resume bit for bit."""

from ticket_sig.training.recipe import PRESETS, Recipe, preset
from ticket_sig.training.steps import Steps

__all__ = ["PRESETS", "Recipe", "Steps", "preset"]
