"""What an evaluation is asked to do; its folder, its secret, and the secrets of its instances."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ticket_sig.errors import bad_input, refuse
from ticket_sig.evaluation.modifications import MODIFICATIONS, Modification
from ticket_sig.fields import SHOWN, check_format, hexadecimal
from ticket_sig.files import SECRET, is_unused, read_json, write_json
from ticket_sig.options import one_named
from ticket_sig.prf import keyed_words
from ticket_sig.training.recipe import Recipe
from ticket_sig.training.run_folder import differences
from ticket_sig.training.steps import Steps

MOST = 1000  # networks, and payloads of each: every cell is listed before the first is measured
PARTS = ("imperceptibility", "robustness", "cost")
ALL, OVERWRITING = "all", "overwriting"
SETTINGS, SECRET_FILE = "settings.json", "secret.json"
_SECRET_FORMAT, _BYTES = "ticket_sig evaluation secret", 32


@dataclass(frozen=True)
class Applied:
    """A modification of the standard at one intensity."""

    name: str
    intensity: float

    def __post_init__(self) -> None:
        one_named(MODIFICATIONS, "modifications", self.name).check(self.intensity)

    @property
    def modification(self) -> Modification:
        """What is done."""
        return MODIFICATIONS[self.name]

    def in_range(self, images: int) -> bool:
        """Whether the intensity, and so many images, are in the range of the standard."""
        return self.modification.in_range(self.intensity, images)

    def __str__(self) -> str:
        """As on the command line."""
        return f"{self.name}={self.intensity:g}"

    def to_json(self, images: int) -> dict[str, Any]:
        """Name, parameter, intensity and range."""
        kind, inside = self.modification, self.in_range(images)
        about = {"parameter": kind.parameter, "unit": kind.unit, "intensity": self.intensity}
        return {"name": self.name, **about, "low": kind.low, "high": kind.high, "in_range": inside}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides an evaluation.

    Attributes:
        methods: names of what is evaluated.
        recipe: of the initial training; model m is trained with its seed + m.
        further: of what follows it: in it a mark is injected, and the unmarked networks are trained as long.
        data_digest, images: of the data set, and how many images it trains on.
        models, payloads: M and D of the standard: M networks, D keys and payloads for each.
        trained_payloads: as many of the D are tried where a modification trains.
        pruned: share of the weights that is pruned where a method stands in the mask.
        parts: of `PARTS`.
        modifications: what is done to the networks; the weakest intensity of each first.

    Raises:
        InputError: a field is out of range, or a name is not known.
    """

    methods: tuple[str, ...]
    recipe: Recipe
    further: Recipe
    data_digest: str
    images: int
    models: int = 3
    payloads: int = 3
    trained_payloads: int = 3
    pruned: float = 0.8
    parts: tuple[str, ...] = PARTS
    modifications: tuple[Applied, ...] = ()

    def __post_init__(self) -> None:
        other = [part for part in self.parts if part not in PARTS]
        limits = {
            "methods": (0 < len(self.methods) == len(set(self.methods)), "one or more, each once"),
            "models": (1 <= self.models <= MOST, f"1 to {MOST}"),
            "payloads": (1 <= self.payloads <= MOST, f"1 to {MOST}"),
            "trained_payloads": (
                self.payloads < 1 or 1 <= self.trained_payloads <= self.payloads,
                f"1 to {self.payloads}",
            ),
            "pruned": (0 < self.pruned < 1, "a share between 0 and 1, without both"),
            "parts": (self.parts and not other, f"some of {', '.join(PARTS)}"),
            "modifications": (
                len(set(self.modifications)) == len(self.modifications),
                "each intensity once",
            ),
        }
        wrong = {name: expected for name, (fine, expected) in limits.items() if not fine}
        found = {name: _listing(getattr(self, name)) for name in wrong}
        refuse("evaluation", (f"{n}: expected {e}, found {found[n]}" for n, e in wrong.items()))

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON."""
        return {
            "methods": list(self.methods),
            "models": self.models,
            "payloads": self.payloads,
            "trained_payloads": self.trained_payloads,
            "arch": self.recipe.arch,
            "dataset": self.recipe.dataset,
            "data_digest": self.data_digest,
            "recipe": self.recipe.to_json(),
            "further": self.further.to_json(),
            "pruned": self.pruned,
            "parts": list(self.parts),
            "seed": self.recipe.seed,
            "modifications": [applied.to_json(self.images) for applied in self.modifications],
        }


def modifications_of(text: str, intensities: int = 3) -> tuple[Applied, ...]:
    """Reads `all`, or NAME and NAME=INTENSITY with commas between.

    Args:
        intensities: 3 for the weak, the middle and the strong one where none is named, or 1 for the middle.

    Raises:
        InputError: a name that is not known, or no number.
    """
    if intensities not in (1, 3):
        raise bad_input("", "intensities", "1 or 3", str(intensities))
    found: list[Applied] = []
    if not listed(text):
        raise bad_input("", "modifications", f"{ALL}, or some of {', '.join(MODIFICATIONS)}", "none")
    for word in MODIFICATIONS if text.strip() == ALL else listed(text):
        name, given, number = word.partition("=")
        kind = one_named(MODIFICATIONS, "modifications", name)
        chosen = kind.intensities if intensities == 3 else kind.intensities[1:2]
        found += [Applied(name, value) for value in ([_number(name, number)] if given else chosen)]
    return tuple(found)


def listed(text: str) -> tuple[str, ...]:
    """The words of a text with commas between them."""
    return tuple(word for part in text.split(",") if (word := part.strip()))


def _listing(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))[:SHOWN] or "none"
    return str(value)


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
        return int(number) if number.is_integer() else number  # the same cell as of the default
    except ValueError:
        raise bad_input("modifications", name, "a number", repr(text)[:SHOWN]) from None


def further_recipe(recipe: Recipe, epochs: int | None = None) -> Recipe:
    """The recipe of the training that follows: half as many epochs as the first one, unless told otherwise.

    A trigger set of 100 is seen too rarely in less to be learnt.

    Raises:
        InputError: the recipe counts iterations, and nothing says how many epochs.
    """
    if epochs is None and recipe.length.unit != "ep":
        raise bad_input(
            "evaluation", "further", "a number of epochs", f"none, and a recipe of {recipe.length}"
        )
    if epochs is not None and epochs < 1:
        raise bad_input("evaluation", "further", "1 or more epochs", str(epochs))
    return replace(recipe, length=Steps(epochs if epochs is not None else -(-recipe.length.count // 2)))


def begin(out: Path, settings: Settings, options: Mapping[str, Any], device: str = "cpu") -> None:
    """Opens the folder of an evaluation, or a new one, which then holds its settings.

    Args:
        options: of each method, by name.
        device: the kind that it is measured on: costs of two kinds are not to be mixed.

    Raises:
        InputError: it was begun with other settings (the fields that differ are named), or is no folder.
    """
    record = {"format": "ticket_sig evaluation settings", "version": 1}
    record |= {"settings": settings.to_json(), "options": dict(options), "device": device}
    if out.exists() and not out.is_dir():
        raise bad_input(out, "output folder", "a folder", "a file")
    if not (out / SETTINGS).exists():
        if not is_unused(out):
            raise bad_input(out, "output folder", f"a new one, or one with {SETTINGS}", "other files")
        write_json(out / SETTINGS, record)
    if differ := differences(_briefly({"device": "cpu", **read_json(out / SETTINGS)}), _briefly(record)):
        found = "; ".join(differ)
        raise bad_input(out, "settings", "those that it was begun with", found, hint="choose another --out")


def _briefly(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record with its modifications as on the command line, for an error that one can read."""
    with suppress(TypeError, KeyError, ValueError, AttributeError):  # a file that somebody changed: as it is
        steps = [f"{one['name']}={one['intensity']:g}" for one in record["settings"]["modifications"]]
        return {**record, "settings": {**record["settings"], "modifications": ",".join(steps)}}
    return record


def secret_of(out: Path) -> bytes:
    """The secret of an evaluation; made when it is first asked for, and readable by its owner alone."""
    path = out / SECRET_FILE
    if not path.exists():
        head = {"format": _SECRET_FORMAT, "version": 1}
        write_json(path, {**head, "secret": secrets.token_hex(_BYTES)}, SECRET)
    found = read_json(path)
    check_format(found, path, _SECRET_FORMAT, 1)
    return hexadecimal(found, "secret", path, _BYTES)


def instance_secret(secret: bytes, method: str, labels: Sequence[object]) -> bytes:
    """32 bytes for one key and payload: they follow from the evaluation's secret, method and place."""
    label = "/".join(map(str, ("evaluation", method, *labels)))
    return keyed_words(secret, label, _BYTES // 8).astype("<u8").tobytes()
