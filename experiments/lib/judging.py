"""How near a result comes to its source: numbers and words of the source beside what was measured."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from experiments.lib.scales import SCALES, first_scale
from ticket_sig.evaluation.intervals import stat
from ticket_sig.verification.fidelity import EPS_F

_SCALES = "".join(f"- Scale **{one.name}**: {one.limits}\n" for one in SCALES.values())
RULES = f"""\
- A published number **agrees** if it lies in the 95 % interval of ours (Student's t over the seeds), or
  within {EPS_F:g} point of our mean; a published word or claim, if every seed shows it. In brackets: ours
  minus the source's, in points.
- **reproduced**: everything agrees, on all networks of the source, and no cell is missing; **in part**: some
  of it agrees; **differs**: nothing does; **measured**: the source has no numbers, or the result is our own
  (**in part**, where cells are missing); **not run**: nothing is measured.
{_SCALES}"""


@dataclass(frozen=True)
class Check:
    """One thing that the source says, beside what was measured.

    Attributes:
        what: checks of one network under one name are counted together.
        seeds: that were measured.
        off: ours less the source's, in points, where it is a number.
    """

    network: str
    what: str
    agrees: bool
    seeds: int
    off: float | None = None


@dataclass(frozen=True)
class Beside:
    """All that the source of a result says, beside ours.

    Attributes:
        networks: that the source has.
        why: ours differs, where it does; without numbers, which nobody would measure anew.
    """

    networks: Iterable[str] = ()
    why: str = ""
    checks: list[Check] = field(default_factory=list)

    def number(self, network: str, what: str, ours: Sequence[float], published: float) -> None:
        """A published number, in points; nothing where nothing was measured."""
        if (found := stat(ours)) is not None:
            off, low, high = found["mean"] - published, found["low"], found["high"]
            inside = low is not None and low <= published <= high
            self.checks.append(Check(network, what, inside or abs(off) <= EPS_F, len(ours), off))

    def said(self, network: str, what: str, ours: Sequence[object], published: object = True) -> None:
        """A published word, or a claim, which every seed has to show; nothing where nothing was measured."""
        if ours:
            self.checks.append(Check(network, what, set(ours) == {published}, len(ours)))

    def judged(self, name: str, measured: int, asked: int, found: str = "") -> list[str]:
        """A result in four parts: what came out, on what, how near it is, and what is missing and why.

        Args:
            name: of the result.
            measured, asked: cells.
            found: what they show in a sentence, where it is not the source's.
        """
        run = list(dict.fromkeys(one.network for one in self.checks))
        missing = [name for name in self.networks if name not in run]
        agree, whole = sum(one.agrees for one in self.checks), measured == asked
        if self.checks:
            all_of_it = agree == len(self.checks) and not missing and whole
            outcome = "reproduced" if all_of_it else "in part" if agree else "differs"
            on = f"{', '.join(run)}; seeds: {_range([one.seeds for one in self.checks])}"
        else:
            outcome = "not run" if not measured else "measured" if whole else "measured in part"
            on = f"{measured} of {asked} cells" if asked else ""
        rest = [f"Not run: {_needs(name, missing)}."] if missing else []
        rest += [f"{asked - measured} of {asked} cells not measured yet."] if 0 < measured < asked else []
        rest += [f"Why it differs: {self.why}"] if self.why and agree < len(self.checks) else []
        near = [*_counts(self.checks, len(run) > 1), *([found] if found and measured else [])]
        return [outcome, on, "; ".join(near), " ".join(rest)]


def _counts(checks: Sequence[Check], several: bool) -> list[str]:
    """How many agree of each kind, and by how much they are off; numbers network by network."""
    groups = dict[str, list[Check]]()
    for one in checks:
        apart = several and one.off is not None
        groups.setdefault(f"{one.network}, {one.what}" if apart else one.what, []).append(one)
    told = []
    for words, group in groups.items():
        offs = [one.off for one in group if one.off is not None]
        ends = dict.fromkeys(f"{end:+.1f}" for end in (min(offs), max(offs))) if offs else ()
        off = f" ({' to '.join(ends)})" if ends else ""
        told.append(f"{words}: {sum(one.agrees for one in group)} of {len(group)}{off}")
    return told


def _range(numbers: Sequence[int]) -> str:
    return " to ".join(dict.fromkeys(map(str, (min(numbers), max(numbers)))))


def _needs(result: str, networks: Collection[str]) -> str:
    """What was not run, by the scale that it takes."""
    groups = dict[str, list[str]]()
    for name in networks:
        scale = first_scale(result, name)
        groups.setdefault(f"`--scale {scale.name}`" if scale else "no scale has it", []).append(name)
    return "; ".join(f"{', '.join(names)} ({need})" for need, names in groups.items())
