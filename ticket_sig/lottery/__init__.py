"""Finding tickets: prune, rewind, retrain, round after round (NeurIPS'21, section 3.1)."""

from ticket_sig.lottery.find import find
from ticket_sig.lottery.prune import prune
from ticket_sig.lottery.retrain import retrain

__all__ = ["find", "prune", "retrain"]
