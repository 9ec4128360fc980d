"""The face that every mark answers to: made, embedded, kept in training, read.

A new mark is one file, with a subclass of `Mark` or, most simply, `PlainMark`, and one line of `MARKS`.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ticket_sig.claim import MOST_TIED, Claim, ClaimedMark
from ticket_sig.datasets import Dataset
from ticket_sig.datasets.data import Split
from ticket_sig.digests import json_digest, tensor_digest
from ticket_sig.errors import InputError, NotThere, about, bad_input, not_there
from ticket_sig.fields import SHOWN, hexadecimal
from ticket_sig.formats.layouts import split_layout
from ticket_sig.formats.names import each_in, plain_names
from ticket_sig.formats.patch import Entries
from ticket_sig.formats.weights import InMemory, Renamed, Weights, find_in
from ticket_sig.mask import Mask, dtype_name
from ticket_sig.models.own import parameters_of, ticket_of
from ticket_sig.options import Options, made, options_of, unicode_text
from ticket_sig.prf import keyed_words
from ticket_sig.ticket import HistoryEntry, Ticket, retie, ties
from ticket_sig.training.marks import Held
from ticket_sig.verdict import Reading, Rows, Verdict

_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"  # of random texts
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)  # that can carry a mark

Model = Ticket | nn.Module | Mapping[str, Tensor] | Weights
Own = TypeVar("Own", bound="Mark")
OwnPlain = TypeVar("OwnPlain", bound="PlainMark")


@dataclass(frozen=True)
class Frame:
    """Where a mark stands in a kernel map: a square of `side` kernels from (row, column) on."""

    layer: str
    row: int
    column: int
    side: int


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A mark of random payload for one network, with all that it takes to try it.

    Attributes:
        mark: made for the network.
        shown: what its reading needs beside the suspect, by the names of `Mark.needs`.
        taught: images and labels that the network learns beside its data, where the mark is put in so.
    """

    mark: Mark
    shown: Mapping[str, Any] = field(default_factory=dict)
    taught: Split | None = None


class Mark(ABC):
    """What an owner puts into a model, or teaches it, to know it again.

    Attributes:
        name: in the registry, in claims and on the command line.
        stands_in: "mask", "weights" or "answers": what a reading looks at.
        carries: its payload: "bits", "numbers", "labels", or "nothing".
        options: what `embed` takes; None for a mark that is not put in by `embed`.
        needs: what a reading takes beside the suspect, by name, with a help text.
        locks: whether the claim's model is one that the mark was taken out of, to be handed out.
        passive: whether nothing is put in: the network stays as it is.
        usual_size: of a payload that is drawn (`drawn`): bits, numbers or labels; None where it has no size.
    """

    name: ClassVar[str]
    stands_in: ClassVar[str]
    carries: ClassVar[str]
    options: ClassVar[type[Options] | None] = None
    needs: ClassVar[Mapping[str, str]] = {}
    locks: ClassVar[bool] = False
    passive: ClassVar[bool] = False
    usual_size: ClassVar[int | None] = 128

    @classmethod
    def make(cls: type[Own], model: Model, options: Any, secret: bytes | None = None) -> Own:
        """A mark for a model; the secret decides all its pseudo-random choices, and is fresh by default."""
        raise NotImplementedError(f"{cls.name} is not made for `embed`")

    @classmethod
    def drawn(
        cls, model: Model, secret: bytes, size: int | None = None, data: Dataset | None = None
    ) -> Drawn:
        """A mark of random payload for a network, as its owner would make it; the secret decides all of it.

        Who tries marks on many networks makes them so (`evaluation`). The options are those of
        `options.of_size(size)`; without it, the message is a random text of so many bits, and a layer that
        must be named is the largest. A mark with other options that must be given, or that is not put in by
        `embed`, has a `drawn` of its own.

        Args:
            secret: 32 bytes.
            size: of the payload; `usual_size` by default.
            data: that the network is trained on.

        Raises:
            InputError: the payload does not fit the network, or the size is none that the mark can have.
        """
        if cls.options is None:
            raise NotImplementedError(f"{cls.name} has no `drawn`")
        size = cls.usual_size if size is None else size
        of_size: Callable[[int | None], Options] | None = getattr(cls.options, "of_size", None)
        options = of_size(size) if of_size else _of_random_text(cls.name, cls.options, model, secret, size)
        return Drawn(mark=cls.make(model, options, secret))

    def embed(self, ticket: Ticket) -> Ticket:
        """The network with the mark in it, without training, and one more entry of history."""
        raise NotImplementedError(f"{self.name} is not put in by `embed`")

    def embed_beside(self, ticket: Ticket, others: Sequence[Mark], *, in_place: bool = False) -> Ticket:
        """The same, where other marks stand that are to be left as they are.

        Args:
            in_place: the ticket's weights may be changed: nobody looks at them again.
        """
        return self.embed(ticket)

    def entries(self, weights: Weights) -> Mapping[str, Entries] | None:
        """Single entries that make the mark, for a model never loaded whole; None where that is not all."""
        return None

    def bind(self, model: nn.Module) -> Held | None:
        """What keeps, or teaches, the mark in training; None where the mask does."""
        return None

    @abstractmethod
    def read(self, suspect: Any, *shown: Any, **needed: Any) -> Reading:
        """What stands in a suspect: a `Model`, or answers; with what `needs` names."""

    def read_tied(self, suspect: Model, tied: Mapping[str, str], **needed: Any) -> Reading:
        """The same, where the claim's tied names may find what the mark names (`under_tied_names`)."""
        return self.read(under_tied_names(suspect, tied), **needed)

    def read_aligned(self, suspect: Model, tied: Mapping[str, str], **needed: Any) -> Reading:
        """The same of a suspect that was aligned with a reference: scales came back up to rounding."""
        return self.read_tied(suspect, tied, **needed)

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The mark's own fields of a claim."""

    @classmethod
    @abstractmethod
    def from_json(cls: type[Own], value: Mapping[str, Any]) -> Own:
        """Reads them; InputError where a field is missing, of another type or out of range."""

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides the mark."""
        return json_digest(self.to_json())

    def __str__(self) -> str:
        """What the claim says of it, in one line; no secret."""
        return self.name

    def opened(self, files: Mapping[str, Path], beside: Path) -> dict[str, Any]:
        """What `needs` names, read from the files that are given by name; `beside` is the claim's file."""
        return {}

    def facts(self, before: Model, after: Model) -> Rows:
        """What embedding did, for people."""
        return ()

    def remedy(self) -> str:
        """What would make a mark stand out that is too weak to verify."""
        return "a larger payload"

    def frame(self) -> Frame | None:
        """Where it stands in a kernel map, if it does."""
        return None

    def room(self, mask: Mask) -> int:
        """How many weights of a signed mask embedding can have moved."""
        frame = self.frame()
        if frame is None or frame.layer not in mask:
            return 0
        return frame.side**2 * mask[frame.layer].shape[2:].numel()

    def carried_by(self) -> Collection[str]:
        """The layers that it names in its claim: where it stands, as far as they tell.

        Before a suspect is read, it may be aligned with a reference. Where that carries the mark itself,
        these layers have no say in it.
        """
        layer = getattr(self, "layer", None)
        return () if layer is None else (layer,)

    def bound_to(self: Own, reference: str) -> Own:
        """The same mark, bound to the owner's model before its first mark; itself, where it cannot be.

        What a mark is bound to is part of the key of its pseudo-random choices: with another reference all of
        them are drawn anew, so that none can be made for them.

        Args:
            reference: digest of that model's tensors.
        """
        return self

    def binding(self) -> str | None:
        """The digest of the reference that it is bound to; None = to none."""
        return None

    def draw(self, reading: Any, path: Path) -> None:
        """Draws what was read; InputError where the mark has no picture."""
        raise bad_input("", "--png", "a mark that has a picture", self.name)


@dataclass(frozen=True, kw_only=True)
class PlainMark(Options, Mark):
    """A mark that is its options and a secret: a subclass declares its options as its own fields.

    Options are what a claim can hold: texts, numbers, true or false, or None.
    """

    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.options = cls

    def __post_init__(self) -> None:
        super().__post_init__()
        for one in options_of(type(self)):
            if isinstance(value := getattr(self, one.name), str):
                unicode_text(one.name, value)

    @classmethod
    def make(cls: type[OwnPlain], model: Model, options: OwnPlain, secret: bytes | None = None) -> OwnPlain:
        """The mark that the options are, under another secret where one is given."""
        return options if secret is None else replace(options, secret=secret)

    def to_json(self) -> dict[str, Any]:
        """The claim's fields."""
        own = {one.name: getattr(self, one.name) for one in options_of(type(self))}
        return {**own, "secret": self.secret.hex()}

    @classmethod
    def from_json(cls: type[OwnPlain], value: Mapping[str, Any]) -> OwnPlain:
        """Reads the claim's fields; InputError where one is missing, of another type or out of range."""
        defaults = {one.name: None if one.default is MISSING else one.default for one in options_of(cls)}
        own = {name: value.get(name, default) for name, default in defaults.items()}
        return cls(**own, secret=hexadecimal(value, "secret"))

    def signs(self, weights: Tensor, count: int) -> Tensor:
        """1 or -1 for some weights, 0 for the others: both follow from the whole mark.

        In a network that has nothing to do with the secret each of these weights has its sign with chance
        1/2 or less, independent of the others.

        Args:
            count: how many get a sign, 1 or more.

        Returns:
            In the shape and dtype of the weights, on their device.

        Raises:
            InputError: no sign is asked for, or there are too few weights.
        """
        most = weights.numel()
        if not 1 <= count <= most:
            raise bad_input(self.name, "signs", f"1 to {most}, the weights of the layer", str(count))
        words = keyed_words(self.secret, f"{self.digest} signs", most)
        chosen = words.argsort().argsort() < count
        return torch.from_numpy(chosen * (words % 2 * 2.0 - 1)).to(weights).view(weights.shape)


def _of_random_text(name: str, kind: type[Options], model: Model, secret: bytes, size: int | None) -> Options:
    """Options of which the message is a random text, and a layer that must be named the largest."""
    known = {one.name: one for one in options_of(kind)}
    given = {}
    if "message" in known:
        if not size or size % 8:
            raise bad_input(name, "size", "bits of a text, 8 for each of its characters", str(size))
        letters = keyed_words(secret, "random text", size // 8) % len(_LETTERS)
        given["message"] = "".join(_LETTERS[int(letter)] for letter in letters)
    if "layer" in known and known["layer"].default is MISSING and (mask := as_ticket(model).mask):
        given["layer"] = max(mask, key=lambda layer: mask[layer].numel())
    return made(kind, name, given)


def layer_of(model: Model, name: str) -> Tensor:
    """One tensor of a model, by its plain name or as `names_in` finds it.

    Raises:
        InputError: there is none of that name that can carry a mark, or several that could be the one.
    """
    weights = as_weights(model)
    found = find_in(weights, {name: None}).get(name)
    if found is None:
        raise not_there("model", "layer", repr(name)[:80], "none of that name")
    check_dtype("model", name, weights.dtypes[found])
    return weights.tensor(found)


def claimed_layer(weights: Weights, layer: str, shape: tuple[int, ...]) -> str:
    """The name that a claimed layer has in a network, which may be wrapped.

    Raises:
        InputError: there is none of that name, or several that could be the one, or it has another shape.
    """
    name = find_in(weights, {layer: shape}).get(layer)
    if name is None:
        raise not_there("model", "layer", f"the claim's {layer}", "none of that name")
    if (found := weights.shapes[name]) != shape:
        raise not_there("model", layer, f"the mark's shape {list(shape)}", str(list(found)))
    return name


def claimed_layers(weights: Weights, layer: str, shape: tuple[int, ...]) -> list[str]:
    """The layer that has a claimed name, as `claimed_layer`; or else all of its shape.

    A mark whose p-value counts all layers of a network can be read in each of them: one layer more that is
    looked at is one that the claimant could have named.

    Raises:
        NotThere: there is none of that shape.
        InputError: several could be the claimed one by their names.
    """
    try:
        return [claimed_layer(weights, layer, shape)]
    except NotThere:
        alike = [n for n in weights.names if weights.shapes[n] == shape and weights.dtypes[n] in DTYPES]
        if not alike:
            raise
        return alike


def matrices_of(weights: Weights) -> list[str]:
    """The layers that a claimant could have chosen: floats of two dimensions or more.

    Of tied weights and equal copies each: a file and its tensors in memory then have as many.
    """
    shapes, dtypes = weights.shapes, weights.dtypes
    return [n for n in weights.names if len(shapes[n]) >= 2 and dtypes[n].is_floating_point]


def signed(ticket: Ticket, written: Mapping[str, Tensor]) -> Ticket:
    """The ticket with these tensors in place of its own, and one more entry of history."""
    entry = HistoryEntry(step="sign", kept=ticket.mask.kept, total=ticket.mask.total)
    weights = retie(ticket.weights, {**ticket.weights, **written})
    return replace(ticket, weights=weights, history=(*ticket.history, entry))


def as_weights(model: Model) -> Weights:
    """Any model as `Weights`, by plain names: a module's parameters, a state dict; `Weights` as they are."""
    if isinstance(model, Ticket):
        return InMemory(model.weights)
    of_module = isinstance(model, nn.Module)
    if isinstance(model, nn.Module):
        # A parameter not yet initialised has no shape.
        model = {n: p for n, p in parameters_of(model).items() if not is_lazy(p)}
    if isinstance(model, Mapping):
        names = plain_names({name: t.shape for name, t in model.items()}, of_module=of_module)
        return InMemory({name: model[there] for there, name in names.items()})
    _check_weights(model)
    return model


def as_ticket(model: Model) -> Ticket:
    """Any model in memory as a ticket, as its file would be read (`split_layout`): also pruned by PyTorch.

    Raises:
        InputError: no model, one with lazy layers, or weights that are read in parts, which have no mask;
            or as `split_layout` and `Ticket`.
    """
    if isinstance(model, Ticket):
        return model
    if isinstance(model, nn.Module):
        return ticket_of(model)
    if not isinstance(model, Mapping):
        _check_weights(model)
        hint = "merge them into one file"
        raise bad_input("model", "mask", "a model in one file", "weights that are read in parts", hint=hint)
    weights, mask, rewind = split_layout({name: t.cpu() for name, t in model.items()}, "model")
    return Ticket(weights=weights, mask=mask, rewind=rewind)


def _check_weights(model: object) -> None:
    """Refuses what is no model at all; `Weights` are a protocol."""
    if not hasattr(model, "shapes"):
        raise bad_input("", "model", "a ticket, a network or tensors by name", f"a {type(model).__name__}")


def check_dtype(where: str, name: str, dtype: torch.dtype) -> None:
    """Checks that weights of a type can carry a mark; InputError names the mark (`where`) and the tensor."""
    if dtype not in DTYPES:
        raise bad_input(where, name, f"one of {', '.join(map(dtype_name, DTYPES))}", dtype_name(dtype))


def claim_of(
    marks: Sequence[Mark],
    weights: Mapping[str, Tensor],
    accuracy: float | None = None,
    tied: Mapping[str, str] | None = None,
    reference: str | None = None,
) -> Claim:
    """The claim on a marked network. It holds the marks' secrets: to be kept until there is a dispute.

    Args:
        weights: of the marked network.
        accuracy: test accuracy in % that is promised.
        tied: its tied weights (`ties`), where the tensors do not tell.
        reference: digest of its tensors before the first mark.
    """
    listed = tuple(ClaimedMark(mark.name, mark.to_json()) for mark in marks)
    tied = ties(weights) if tied is None else tied
    told = tied if len(tied) <= MOST_TIED else {}  # more are not read
    subject = tensor_digest(weights)
    return Claim(marks=listed, subject=subject, accuracy=accuracy, reference=reference, tied=told)


def under_tied_names(model: Model, tied: Mapping[str, str]) -> Model:
    """A suspect in which tensors that the claim's model had under several names are found under each of them.

    Some files keep but one name of tied weights (`safetensors.torch.save_model`), and not always the one that
    a mark names. Which names are tied the claim says, so that a verifier has no choice; a name that the
    suspect has itself is left as it is.

    Args:
        tied: {name: first name} of the claim.
    """
    groups: dict[str, list[str]] = {}
    for name, first in tied.items():
        groups.setdefault(first, [first]).append(name)
    if not groups:
        return model
    weights, further = as_weights(model), dict[str, str]()
    claimed = {name for names in groups.values() for name in names}
    each = each_in(claimed, {name: weights.shapes[name] for name in weights.names})
    for names in groups.values():
        found = {name: each[name] for name in names if name in each}
        lacking = (name for name in names if name not in found)
        further |= dict.fromkeys(lacking, next(iter(found.values()))) if found else {}
    if not further:
        return model
    if not isinstance(model, (Ticket, nn.Module, Mapping)):
        return Renamed(model, further)
    ticket = as_ticket(model)
    added = {name: ticket.weights[there] for name, there in further.items() if there in ticket.weights}
    return replace(ticket, weights={**ticket.weights, **added}, rewind=None)


def tried(marks: Sequence[Mark], shown: Collection[str] = ()) -> list[Mark]:
    """The marks that are tried on weights, and counted in the p-value.

    One that needs something (`Mark.needs`) of which nothing is shown is left out, where there are others.
    """
    read = [mark for mark in marks if mark.stands_in != "answers"]
    return [mark for mark in read if not mark.needs or mark.needs.keys() & set(shown)] or read


def verdict_on(
    mark: Mark,
    suspect: Model,
    chances: int,
    shown: Mapping[str, Any] | None = None,
    tied: Mapping[str, str] | None = None,
    *,
    aligned: bool = False,
) -> Verdict | InputError:
    """The verdict on one of so many marks that are tried, each a chance; or why it could not be read.

    Args:
        aligned: whether the suspect was aligned with a reference.
    """
    try:
        given = {name: one for name, one in (shown or {}).items() if name in mark.needs}
        read = mark.read_aligned if aligned else mark.read_tied
        return replace(read(suspect, tied or {}, **given).verdict(), tried=chances)
    except InputError as error:
        return error


def of_kind(kind: type[Own], claim: Claim, hint: str = "") -> Own:
    """The mark of a claim that is of this kind, the first if there are several; `hint` says how to get one.

    Raises:
        InputError: the claim is of none, or damaged.
    """
    with about(claim.source):
        for one in claim.marks:
            if one.name == kind.name:
                return kind.from_json(one.fields)
        found = ", ".join(repr(one.name) for one in claim.marks)
        raise bad_input("claim", "marks", repr(kind.name), found[:SHOWN], hint=hint)
