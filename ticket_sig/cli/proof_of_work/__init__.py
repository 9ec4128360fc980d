"""Proof of work by training: mine a network that carries a block's watermark, or check one."""

from __future__ import annotations

from collections.abc import Callable, Mapping


def commands() -> Mapping[str, tuple[Callable[..., None], str]]:
    """Both verbs, with the options of a difficulty."""
    from ticket_sig.cli.declared import with_options
    from ticket_sig.cli.proof_of_work import check, mine
    from ticket_sig.proof_of_work import Difficulty

    return {
        name: (with_options(module.run, {"difficulty": Difficulty}, panel="Difficulty"), module.__doc__ or "")
        for name, module in (("mine", mine), ("check", check))
    }
