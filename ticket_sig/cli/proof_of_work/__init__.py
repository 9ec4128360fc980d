"""Proof of work by training: mine a network that carries a block's watermark, or check one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType


def commands() -> Mapping[str, tuple[Callable[[], Callable[..., None]], str]]:
    """Both: what makes the verb, with the options of a difficulty, and its text."""
    from ticket_sig.cli import options
    from ticket_sig.cli.declared import with_options
    from ticket_sig.cli.proof_of_work import check, mine
    from ticket_sig.proof_of_work import Difficulty

    def made(module: ModuleType) -> Callable[..., None]:
        return options.new_training(with_options(module.run, {"difficulty": Difficulty}, panel="Difficulty"))

    modules = {"mine": mine, "check": check}
    return {name: (partial(made, module), module.__doc__ or "") for name, module in modules.items()}
