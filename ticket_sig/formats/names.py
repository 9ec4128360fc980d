"""Names of tensors: what wrappers add to them, and how a claimed name is found in a suspect.

Wrappers (DataParallel, `torch.compile`, FSDP, EMA) put parts into the names of the module that they wrap. No
user writes `_orig_mod`: such parts are dropped wherever they stand. `module` may be a module's own attribute:
it is dropped only where all names begin with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from math import prod

from ticket_sig.errors import NAMED_AT_MOST, bad_input, some
from ticket_sig.fields import SHOWN
from ticket_sig.verdict import Rows
from ticket_sig.wrappers import COUNTERS, IN_FRONT, INSIDE, without

Shapes = Mapping[str, Sequence[int]]  # of tensors, by name

_DEEPEST = 32  # parts of a name that are looked at: a hostile one may have a million


def plain_names(shapes: Shapes, *, of_module: bool = False) -> dict[str, str]:
    """The names that the module itself would give its tensors, by their names in a file.

    Left out is what a wrapper counts beside the names that it wraps (`COUNTERS`). Where two tensors would get
    one name, none is changed.

    Args:
        of_module: the names are those of a module without wrappers (`models.own.plain`): `module` is its own.
    """
    plain = {name: without(name, INSIDE) for name in shapes}
    while not of_module and (prefix := _shared_front(plain, shapes)):
        plain = {name: p.removeprefix(prefix) for name, p in plain.items() if p.startswith(prefix)}
    return plain if len(set(plain.values())) == len(plain) else {name: name for name in shapes}


def _shared_front(plain: Mapping[str, str], shapes: Shapes) -> str:
    """What wrappers put before all names but those of their counters; nothing where one lacks it."""
    wrapped = [p for name, p in plain.items() if p not in COUNTERS or prod(shapes[name]) != 1]
    fronts = (f"{front}." for front in IN_FRONT)
    return next((front for front in fronts if wrapped and all(p.startswith(front) for p in wrapped)), "")


def names_in(
    claimed: Mapping[str, Sequence[int] | None], suspect: Shapes, where: object = "model"
) -> dict[str, str]:
    """The names under which a suspect has claimed tensors: {claimed name: name in the suspect}.

    A name that the suspect has is found as it is. Else wrappers' parts are left out of all names, and a
    claimed name `c` finds a suspect's `s` if `s` is `P.c`, or if `c` is `P.s`; `P` is the same for all
    claimed names, and may be nothing. The shapes must be equal. Several ways to find them all are refused,
    and none is guessed; so is one tensor for two claimed names. Names that are not found are left out.

    The rule is public, and which tensors are found leaves no choice, so that it costs nothing in a p-value.
    Their order may be another one than that of the claimed names.

    Args:
        claimed: shapes by name; None where the shape is not known.
        suspect: shapes by name, of all tensors.

    Raises:
        InputError: several tensors could be a claimed one, or one could be several; they are named.
    """
    if all(name in suspect for name in claimed):
        return {name: name for name in claimed}
    ways = _ways(claimed, suspect)
    most = max(map(len, ways.values()), default=0)
    best = {way: found for way, found in ways.items() if len(found) == most}
    shared = ("+", _shared_by_all(suspect))  # says nothing of any of them
    chosen = next((best[way] for way in (("+", ""), shared) if way in best), None)
    if chosen is None and len(best) == 1:
        [chosen] = best.values()
    for name in claimed:
        could = [one for found in ([chosen] if chosen else best.values()) for one in found.get(name, ())]
        if len(could) > 1 and most == len(claimed):
            named = ", ".join(could[:NAMED_AT_MOST])
            raise bad_input(where, "layer", f"one tensor that could be the claimed {name}", named)
    names = {name: found[0] for name, found in (chosen or {}).items()}
    claimed_as = {there: name for name, there in names.items()}
    for name, there in names.items():
        if (other := claimed_as[there]) != name:
            both = f"{name[:SHOWN]} and {other[:SHOWN]}"
            raise bad_input(where, "layer", f"a tensor each for the claimed {both}", f"{there} alone")
    return names


def _ways(claimed: Mapping[str, Sequence[int] | None], suspect: Shapes) -> dict[tuple[str, str], _Found]:
    """The tensors that are found with each prefix put before the claimed names ("+"), or taken off ("-")."""
    wanted, there = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for name in claimed:
        wanted[without(name)].append(name)
    for name in suspect:
        there[without(name)].append(name)
    ways = defaultdict[tuple[str, str], _Found](dict)

    def enter(way: tuple[str, str], names: list[str], found: list[str]) -> None:
        for name in names:
            shape = claimed[name]
            fit = [one for one in found if shape is None or tuple(suspect[one]) == tuple(shape)]
            if fit:
                ways[way][name] = [name] if name in fit else [*ways[way].get(name, []), *fit]

    for plain, found in there.items():
        for prefix, rest in _ends(plain):
            enter(("+", prefix), wanted.get(rest, []), found)
    for plain, names in wanted.items():
        for prefix, rest in _ends(plain):
            if prefix:
                enter(("-", prefix), names, there.get(rest, []))
    return ways


_Found = dict[str, list[str]]


def _ends(name: str) -> Iterator[tuple[str, str]]:
    """A name in two at each of its dots: ("", "a.b"), ("a", "b")."""
    parts = name.split(".", _DEEPEST)
    return ((".".join(parts[:n]), ".".join(parts[n:])) for n in range(len(parts)))


def _shared_by_all(names: Shapes) -> str:
    """The parts that all names begin with, without wrappers."""
    split = [without(name).split(".")[:-1][:_DEEPEST] for name in names]
    shared = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)


def each_in(claimed: Collection[str], suspect: Shapes) -> dict[str, str]:
    """Claimed names, each found by itself as `names_in` does; those that several could be are left out.

    The suspect's names are taken apart once, however many are looked for.
    """
    ways = defaultdict[str, dict[tuple[str, str], list[str]]](dict)
    for way, found in _ways(dict.fromkeys(claimed), suspect).items():
        for name, there in found.items():
            ways[name][way] = there
    first = ("+", ""), ("+", _shared_by_all(suspect))
    each = {}
    for name in claimed:
        own = ways[name]
        could = next(
            (own[way] for way in first if way in own), [one for found in own.values() for one in found]
        )
        if name in suspect or len(could) == 1:
            each[name] = name if name in suspect else could[0]
    return each


def found_elsewhere(found: Mapping[str, str]) -> dict[str, str]:
    """Of what `names_in` found, the names that the suspect has otherwise."""
    return {name: there for name, there in found.items() if name != there}


def rows_of(found_as: Mapping[str, str]) -> Rows:
    """A row on tensors that were found under other names; none where there are none."""
    told = [f"{name} as {there}" for name, there in found_as.items()]
    renamed = f"{len(told)} tensor{'s' if len(told) > 1 else ''} renamed"
    return [("found under another name", f"{renamed}: {some(told, at_most=1)}")] if told else []


def json_of(found_as: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The same as JSON, under `found_as`; nothing where there are none."""
    return {"found_as": dict(found_as)} if found_as else {}
