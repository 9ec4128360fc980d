"""What can be evaluated, by name: every mark, the mask itself, and a method of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ticket_sig.errors import bad_input
from ticket_sig.evaluation.fingerprint import MaskFingerprint
from ticket_sig.evaluation.method import Method
from ticket_sig.evaluation.of_mark import OfMark
from ticket_sig.evaluation.plugin import PlugIn
from ticket_sig.marks import MARKS
from ticket_sig.options import one_named

METHODS: dict[str, Callable[[], Method]] = {
    **{name: partial(OfMark, kind) for name, kind in MARKS.items()},
    MaskFingerprint.name: MaskFingerprint,
}


def method(name: str, plugin: Path | None = None, size: int | None = None) -> Method:
    """A method by its name.

    Args:
        name: in `METHODS`, or of the plug-in: its file's name without `.py`.
        plugin: the file of a user's own method. It is run.
        size: of a mark's payload, in bits, numbers or labels; the mark's usual one by default.

    Raises:
        InputError: no method of that name, one that has no size, or a plug-in that is none or has the name
            of a method.
    """
    own: dict[str, Callable[[], Method]] = {}
    if plugin is not None:
        if plugin.stem in METHODS:
            raise bad_input(
                plugin, "plug-in", "a file that has no method's name", plugin.stem, hint="rename it"
            )
        own[plugin.stem] = partial(PlugIn, plugin)
    make = one_named({**METHODS, **own}, "method", name)
    if size is None:
        return make()
    if name in own or name not in MARKS:
        raise bad_input(name, "size", "none: it has no size of its own", str(size))
    return OfMark(MARKS[name], size)
