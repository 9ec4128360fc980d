"""The trigger set as a mark: what a claim says of it, and how answers are judged.

The claim holds a commitment to the trigger set, not the set: it can be dated and shown without giving the
triggers away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ticket_sig.datasets import Dataset
from ticket_sig.errors import bad_input
from ticket_sig.fields import entry, image_size, matching, whole
from ticket_sig.marks.mark import Drawn, Mark, Model
from ticket_sig.marks.trigger_set.folder import FITS, ORDERS, PLAIN, Arrangement
from ticket_sig.marks.trigger_set.queries import Queries
from ticket_sig.marks.trigger_set.reading import TriggerReading, read_answers
from ticket_sig.marks.trigger_set.triggers import (
    COUNT,
    TriggerSecret,
    TriggerSet,
    check_extent,
    read_triggers,
)

_CHOICES = {"order": ORDERS, "fit": FITS}


@dataclass(frozen=True)
class TriggerMark(Mark):
    """What a claim says of its trigger set.

    Attributes:
        commitment: digest of the set (`TriggerSet.commitment`).
        count, size, classes: number of images; their height, width and channels; classes of the network.
        keyed: whether images and labels follow from a secret; else somebody chose them.
        arrangement: how the folder is read that they were chosen in; None where they follow from a secret.
    """

    name: ClassVar[str] = "trigger-set"
    stands_in: ClassVar[str] = "answers"
    carries: ClassVar[str] = "labels"
    needs: ClassVar[Mapping[str, str]] = {
        "triggers": "The trigger set: the file of its secret, or a folder of pictures."
    }

    usual_size: ClassVar[int | None] = COUNT

    commitment: str
    count: int
    size: tuple[int, int, int]
    classes: int
    keyed: bool
    arrangement: Arrangement | None = None

    @classmethod
    def of(cls, triggers: TriggerSet) -> TriggerMark:
        """The mark of a trigger set: its commitment and its sizes, and not its images."""
        source = triggers.keyed, triggers.arrangement
        return cls(triggers.commitment, len(triggers), triggers.size, triggers.classes, *source)

    @classmethod
    def drawn(
        cls, model: Model, secret: bytes, size: int | None = None, data: Dataset | None = None
    ) -> Drawn:
        """A keyed set of so many images, of the data's size and classes.

        Raises:
            InputError: no data set, or too few or too many images.
        """
        if data is None:
            raise bad_input(cls.name, "data", "a data set, which says how large images are", "none")
        count = COUNT if size is None else size
        triggers = TriggerSecret(secret, count, data.size, data.classes).trigger_set()
        return Drawn(mark=cls.of(triggers), shown={"triggers": triggers}, taught=triggers.split)

    def read(
        self,
        suspect: Sequence[int | None],
        *,
        queries: Queries,
        controls: Sequence[Sequence[int | None]] = (),
    ) -> TriggerReading:
        """Counts the triggers that are answered as claimed, and how surprising that is.

        Args:
            suspect: its answers, in the order of `queries.images`; None where none came. A label that is no
                class of the claim's is an answer that matches nothing: a class more must not save a thief.
            queries: what was asked, for this claim (`prepare`).
            controls: the answers of innocent networks to the same images.

        Raises:
            InputError: too many or too few answers, one is no whole number, a control network is missing or
                left a trigger unanswered, or so few decoys were answered that it could not be decided.
        """
        self.check(queries.triggers)
        return read_answers(queries, suspect, controls)

    def check(self, triggers: TriggerSet) -> None:
        """Checks that a trigger set is the one this claim was made with; InputError where it is another."""
        shown = TriggerMark.of(triggers)
        for name in ("count", "size", "classes", "keyed", "arrangement", "commitment"):
            expected, found = getattr(self, name), getattr(shown, name)
            if expected != found:
                hint = "another secret or folder, or one that was changed since the claim was made"
                if name == "arrangement":
                    hint = "give `read_triggers` the order and the fit of the claim"
                raise bad_input("triggers", name, f"the claim's {expected}", str(found), hint=hint)

    def to_json(self) -> dict[str, Any]:
        """The claim's fields."""
        own = {**vars(self), "size": list(self.size)}
        arrangement = own.pop("arrangement")
        return own if arrangement is None else {**own, **vars(arrangement)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TriggerMark:
        """Reads the claim's fields; InputError where one is missing, of another type or out of range."""
        commitment, count, size = entry(value, "commitment", str), whole(value, "count"), image_size(value)
        keyed = entry(value, "keyed", bool)
        arrangement = None if keyed else _arrangement({**vars(PLAIN), **value})
        mark = cls(commitment, count, size, whole(value, "classes"), keyed, arrangement)
        check_extent("claim", mark.count, mark.size, mark.classes, keyed=mark.keyed)
        return mark

    def __str__(self) -> str:
        source = "from a secret" if self.keyed else f"chosen by somebody; {self.arrangement}"
        return f"{self.name}, {self.count} images of {self.classes} classes, {source}"

    def opened(self, files: Mapping[str, Path], beside: Path) -> dict[str, Any]:
        """The trigger set; InputError where it is missing, damaged or another one."""
        if "triggers" not in files:
            raise bad_input("", "--triggers", "a path", "none", hint="the claim does not hold the secret")
        how = vars(self.arrangement) if self.arrangement else {}
        triggers = read_triggers(files["triggers"], self.size, self.classes, **how)
        self.check(triggers)
        return {"triggers": triggers}


def _arrangement(value: Mapping[str, Any]) -> Arrangement:
    order, fit = (matching(value, name, "|".join(known)) for name, known in _CHOICES.items())
    return Arrangement(order=order, fit=fit)
