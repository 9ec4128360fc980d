"""Which network on which data set: what options name, or else the recipe of the ticket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from ticket_sig.datasets import Dataset, load_dataset
from ticket_sig.datasets.registry import FREE
from ticket_sig.errors import bad_input
from ticket_sig.models import build_for
from ticket_sig.ticket import Ticket
from ticket_sig.training.recipe import Recipe, default_preset, preset


@dataclass(frozen=True)
class Subject:
    """Names of a network and a data set in the registries; None where nobody says."""

    arch: str | None
    dataset: str | None

    @classmethod
    def of(cls, ticket: Ticket, arch: str | None = None, dataset: str | None = None) -> Subject:
        """What is named, or else what the ticket's recipe says."""
        known = ticket.recipe or {}
        return cls(arch or known.get("arch"), dataset or known.get("dataset"))

    def names(self, where: str) -> tuple[str, str]:
        """Both names.

        Args:
            where: the option that asks for them, for the message.

        Raises:
            InputError: one is not known.
        """
        if isinstance(self.arch, str) and isinstance(self.dataset, str):
            return self.arch, self.dataset
        lacking = [f"--{name}" for name, value in vars(self).items() if not isinstance(value, str)]
        found, hint = ("one", "name it: ") if len(lacking) == 1 else ("none", "name them: ")
        expected = "the names of network and data set, too"
        raise bad_input("", where, expected, found, hint=hint + ", ".join(lacking))

    def network(self, ticket: Ticket) -> nn.Module | None:
        """The network with the ticket's weights; None where its name is not known.

        Raises:
            InputError: no network of that name, or the weights do not fit it.
        """
        return build_for(self.arch, ticket.weights) if self.arch else None

    def data(self, folder: Path | None) -> Dataset | None:
        """The data set; None where its name is not known, or its folder is needed and not given.

        Raises:
            InputError: no data set of that name, or its folder holds something else.
        """
        wanted = self.dataset and (folder or self.dataset == FREE)
        return load_dataset(self.dataset, folder) if self.dataset and wanted else None


def recipe_of(known: Mapping[str, Any] | None, preset_name: str | None = None, **changes: Any) -> Recipe:
    """The recipe of a bundle, or a preset's, with some fields changed.

    Args:
        known: of the bundle (`Ticket.recipe`).
        changes: fields of the recipe; None: as it is.

    Raises:
        InputError: the bundle has no recipe, and nothing names network and data set; or a field is out of
            range.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    if known is not None and preset_name is None:
        return replace(Recipe.from_json(known), **given)
    names = {"arch": (known or {}).get("arch"), "dataset": (known or {}).get("dataset"), **given}
    if not (names["arch"] and names["dataset"]):
        raise bad_input("", "recipe", "one in the bundle, or --arch and --dataset", "neither")
    return preset(preset_name or default_preset(names["dataset"]), **names)
