"""What the spread and the mirror code share: a coded message all over the mask, under a secret.

The claim commits to the secret and does not hold it. Every choice that a claimant has but a text (its length,
code, layers, weights kept in each, a public key, the reference) goes into the key of the pseudo-random signs:
with another choice all of them are drawn anew. So each choice is one more try, and 2^64 tries are paid for.
A text can be chosen after the network was read, and is paid for by all texts of its length.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig.datasets import Dataset
from ticket_sig.digests import DIGEST, json_digest
from ticket_sig.errors import bad_input
from ticket_sig.fields import SHOWN, entry, hexadecimal, matching, whole
from ticket_sig.formats.names import json_of, rows_of
from ticket_sig.marks.mark import Drawn, Mark, Model, as_ticket, under_tied_names
from ticket_sig.marks.mask_change import moved, with_mask
from ticket_sig.marks.message_code import MessageCode, Signs
from ticket_sig.marks.public_key import fingerprint, is_public_key, read_public_key
from ticket_sig.marks.secret import Secret
from ticket_sig.mask import Mask
from ticket_sig.options import Options, not_blank, option, unicode_text, within
from ticket_sig.prf import Stream
from ticket_sig.statistics import LOG10_SECRETS, corrected, format_p, log10_of_signs
from ticket_sig.ticket import Ticket
from ticket_sig.verdict import Rows, Symbols, Verdict

MOST_BYTES, MOST_LAYERS = 64, 1 << 16
LEAST_MARGIN = 0.5  # standard deviations of a bit
_MOST_DIMENSIONS, _MOST_WEIGHTS = 8, 1 << 40  # of a layer

_Own = TypeVar("_Own", bound="Carrier")


@dataclass(frozen=True)
class Payload:
    """What a carrier says: a text, or the fingerprint of a public key, which was there before.

    Attributes:
        text: in UTF-8; empty for a fingerprint.
        public_key: SubjectPublicKeyInfo in DER; empty for a text.

    Raises:
        InputError: a text of no or too many bytes, or bytes that are no public key.
    """

    text: str = ""
    public_key: bytes = b""

    def __post_init__(self) -> None:
        if self.public_key:
            if not is_public_key(self.public_key):
                raise bad_input("", "public_key", "a SubjectPublicKeyInfo in DER", "something else")
        elif not 1 <= (size := len(unicode_text("message", self.text))) <= MOST_BYTES:
            raise bad_input("", "message", f"1 to {MOST_BYTES} bytes in UTF-8", str(size))

    @classmethod
    def of(cls, options: CarrierOptions) -> Payload:
        """What options ask for; InputError where the key's file is missing or holds none."""
        if options.fingerprint is None:
            return cls(options.message or "")
        return cls(public_key=read_public_key(options.fingerprint))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Payload:
        """Reads the claim's field; InputError for none, both or a damaged one."""
        if "public_key" not in value:
            return cls(entry(value, "message", str))
        if "message" in value:
            raise bad_input("claim", "message, public_key", "one of them", "both")
        if not (key := hexadecimal(value, "public_key")):
            raise bad_input("claim", "public_key", "a SubjectPublicKeyInfo in DER", "nothing")
        return cls(public_key=key)

    @property
    def data(self) -> bytes:
        """The bytes that the mark carries."""
        return fingerprint(self.public_key) if self.public_key else self.text.encode()

    def shown(self, data: bytes | None) -> str | None:
        """Bytes that were read, as such a payload is written; None where they are none."""
        if data is None or self.public_key:
            return None if data is None else f"SHA256:{data.hex()}"
        try:
            return data.decode()
        except UnicodeDecodeError:
            return None

    @property
    def log10_choices(self) -> float:
        """How many messages a claimant could have chosen from after he had read the network."""
        return 0.0 if self.public_key else 8 * len(self.data) * math.log10(2)

    def to_json(self) -> dict[str, str]:
        """The claim's field."""
        return {"public_key": self.public_key.hex()} if self.public_key else {"message": self.text}


@dataclass(frozen=True, kw_only=True)
class CarrierOptions(Options):
    """What decides a message, and how strongly it stands."""

    message: str | None = option(
        f"Text to write, 1 to {MOST_BYTES} bytes in UTF-8.", default=None, check=not_blank
    )
    fingerprint: Path | None = option(
        "File of a public key (PEM or OpenSSH): its fingerprint is written in place of a text.", default=None
    )
    margin: float | None = option(
        "Standard deviations by which each bit of the code is to stand; by default as many as each carrier "
        "needs for all bits together.",
        default=None,
        check=within(LEAST_MARGIN, 50),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.message is None) == (self.fingerprint is None):
            found, hint = "neither", "give one"
            if self.message is not None:
                found, hint = "both", "give one; what says something else is put in next, into the bundle"
            raise bad_input("", "--message, --fingerprint", "one of them", found, hint=hint)


@dataclass(frozen=True)
class Layer:
    """A layer of the claim: its name, its shape and how many weights of it were kept.

    Raises:
        InputError: what no claim may say: too many dimensions or weights, or more kept than there are.
    """

    name: str
    shape: tuple[int, ...]
    kept: int

    def __post_init__(self) -> None:
        shape = self.shape
        fine = 2 <= len(shape) <= _MOST_DIMENSIONS and all(type(n) is int and n > 0 for n in shape)
        if not fine or (size := math.prod(shape)) > _MOST_WEIGHTS:
            expected = f"2 to {_MOST_DIMENSIONS} positive whole numbers, of 2^40 weights at most"
            raise bad_input("claim", "shape", expected, repr(list(shape))[:SHOWN])
        if self.kept > size:
            raise bad_input("claim", "kept", f"1 to {size}, the weights of the layer", str(self.kept))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Layer:
        """Reads one of the claim's; InputError where a field is missing or cannot be."""
        shape, kept = entry(value, "shape", list), whole(value, "kept", least=1)
        return cls(entry(value, "name", str), tuple(shape), kept)

    def to_json(self) -> dict[str, Any]:
        """The same for a claim."""
        return {"name": self.name, "shape": list(self.shape), "kept": self.kept}


def by_shape(layers: Iterable[Layer]) -> dict[tuple[int, ...], list[int]]:
    """The numbers of the layers of each shape."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, layer in enumerate(layers):
        groups.setdefault(layer.shape, []).append(number)
    return groups


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the keyed signs measure in a suspect.

    Attributes:
        sums: T, [bits of the code]: for each the sum of s a over its share, s its keyed signs, 1 or -1, and a
            what stands in the suspect, which knows nothing of the signs.
        deviations: [bits of the code], of T in an innocent network, for the decoder.
        squares: sum of a^2 over all shares, exactly.
        log10_choices: what else was chosen in reading (orders, symmetries).
        found_as: layers' names in the suspect, where they are others than the claimed ones.
    """

    sums: NDArray[np.float64]
    deviations: NDArray[np.float64]
    squares: float
    log10_choices: float = 0.0
    found_as: Mapping[str, str] = field(default_factory=dict)

    @property
    def soft(self) -> NDArray[np.float64]:
        """Each bit in standard deviations, 0 where nothing is known."""
        return np.divide(self.sums, self.deviations, out=np.zeros_like(self.sums), where=self.deviations > 0)


@dataclass(frozen=True, kw_only=True)
class CarrierReading:
    """What stands in a suspect under a secret.

    Attributes:
        payload: as it was claimed.
        read: the bytes that were decoded, None where none were.
        sent: the claimed code, 1 or -1.
        soft: each of its bits in standard deviations, as it is read.
        sigma: of all bits together, towards the claimed code.
    """

    mark: str
    payload: Payload
    read: bytes | None
    sent: Signs
    soft: NDArray[np.float64]
    sigma: float
    log10_choices: float
    found_as: Mapping[str, str]

    @property
    def message(self) -> str | None:
        """The message that was decoded; None where the code cannot be read."""
        return self.payload.shown(self.read)

    @property
    def agreement(self) -> float:
        """Share of the bits of the code that are as claimed, 0 to 1."""
        return float(((self.soft < 0) == (self.sent < 0)).mean())

    @property
    def log10_p_here(self) -> float:
        """For one secret and one message."""
        return log10_of_signs(self.sigma)

    @property
    def log10_p(self) -> float:
        """Corrected for every secret and message that could have been tried."""
        return corrected(self.log10_p_here, LOG10_SECRETS, self.payload.log10_choices, self.log10_choices)

    @property
    def symbols(self) -> Symbols:
        """The bits of the code, claimed and read."""
        return Symbols(
            tuple((self.sent < 0).astype(int).tolist()), tuple((self.soft < 0).astype(int).tolist())
        )

    def rows(self) -> Rows:
        """What it rests on, for people."""
        chosen = "key" if self.payload.public_key else "message"
        return [
            (f"  for one secret and {chosen}", format_p(self.log10_p_here)),
            ("  all bits together", f"{self.sigma:.1f} standard deviations"),
            ("message read", "cannot be read" if self.message is None else self.message),
            *rows_of(self.found_as),
        ]

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "message": self.message,
            "message_equal": self.read == self.payload.data,
            "sigma": round(self.sigma, 3),
            "agreement": round(self.agreement, 6),
            "log10_p": round(self.log10_p, 3),
            "log10_p_uncorrected": round(self.log10_p_here, 3),
            "log10_messages_tried": round(self.payload.log10_choices, 3),
            "log10_readings_tried": round(self.log10_choices, 3),
            "code_bits": len(self.sent),
            **json_of(self.found_as),
        }

    def verdict(self) -> Verdict:
        """Verified by the p-value; that the message can be decoded is not needed, but another one may not be.

        Codes of some texts are so near to each other that where one was written the other stands, too.
        """
        other = self.read not in (None, self.payload.data)
        said = "fingerprint of the claimed public key" if self.payload.public_key else "claimed message"
        chosen = "secret and public key" if self.payload.public_key else "secret and message"
        return Verdict(
            mark=self.mark,
            reading=self,
            statistic=f"the {said} stands by {self.sigma:.1f} standard deviations",
            proves=f"this mask was made to carry the {said} under the claimed secret; no unrelated network "
            f"does, whatever {chosen} the claimant chose",
            does_not_prove="who wrote it, or when: whoever holds the secret can write it into any network, "
            "or erase it. Compare with a record of the claim from before the dispute",
            lacking="the claimed message: another one is read" if other else "",
        )


@dataclass(frozen=True, kw_only=True)
class Carrier(Mark):
    """A message in the mask, under a secret that the claim commits to.

    Attributes:
        payload: what it says.
        layers: that carry it.
        commitment: to the secret.
        reference: digest of the owner's model before its first mark, to which the signs are bound; None = to
            none.
        secret: where it is known: of a mark that was just made.
        margin: standard deviations by which each bit of the code is to stand; of a mark that was just made.
        may_rise: whether the margin is the usual one, so that more may be taken where it proves too little.
        usual_sigma: standard deviations of all bits together, where no margin is given.
    """

    stands_in: ClassVar[str] = "mask"
    carries: ClassVar[str] = "bits"
    options: ClassVar[type[Options] | None] = CarrierOptions
    needs: ClassVar[Mapping[str, str]] = {
        "secret": "File of the owner's secret (spread, mirror), to which the claim only commits."
    }
    usual_size: ClassVar[int | None] = 72
    usual_sigma: ClassVar[float] = 40.0

    payload: Payload
    layers: tuple[Layer, ...]
    commitment: str
    reference: str | None = None
    secret: Secret | None = field(default=None, compare=False, repr=False)
    margin: float = field(default=0.0, compare=False)
    may_rise: bool = field(default=False, compare=False)

    # What a carrier says of itself.

    @classmethod
    @abstractmethod
    def carrying(cls, mask: Mask) -> tuple[Layer, ...]:
        """The layers of a mask that carry it; InputError where there are none, or too small ones."""

    @abstractmethod
    def written(self, ticket: Ticket, stream: Stream, spared: Mapping[str, Tensor]) -> Mask:
        """The ticket's mask with the message in it, as many weights kept in each layer.

        Args:
            spared: weights of other marks, by layer, boolean: to be left as they are.

        Raises:
            InputError: the message does not fit (says how many bytes would, at which margin).
        """

    @abstractmethod
    def measured(self, suspect: Ticket, stream: Stream, sent: Signs) -> Measured:
        """Measures a suspect; InputError where it lacks a layer.

        Args:
            sent: the claimed code, for whatever has to be chosen; the choices are counted.
        """

    # What they share.

    @property
    def code(self) -> MessageCode:
        """The code of its message."""
        return MessageCode(len(self.payload.data))

    @classmethod
    def make(cls: type[_Own], model: Model, options: CarrierOptions, secret: bytes | None = None) -> _Own:
        """The mark for a sparse model; InputError where nothing of it can carry one."""
        own, payload = Secret.of(secret), Payload.of(options)
        usual = cls.usual_sigma / math.sqrt(MessageCode(len(payload.data)).size)
        layers = cls.carrying(as_ticket(model).mask)
        _check_count(layers)
        return cls(
            payload=payload,
            layers=layers,
            commitment=own.commitment,
            secret=own,
            margin=usual if options.margin is None else options.margin,
            may_rise=options.margin is None,
        )

    @classmethod
    def drawn(
        cls, model: Model, secret: bytes, size: int | None = None, data: Dataset | None = None
    ) -> Drawn:
        """As of every mark, with the secret that a reading needs."""
        return replace(super().drawn(model, secret, size, data), shown={"secret": Secret(secret)})

    def bound_to(self: _Own, reference: str) -> _Own:
        """The same mark, its signs bound to the owner's model before its first mark."""
        return replace(self, reference=reference)

    def binding(self) -> str | None:
        """That model's digest."""
        return self.reference

    def embed(self, ticket: Ticket) -> Ticket:
        """Writes the message into the mask; every layer keeps as many weights as before."""
        return self.embed_beside(ticket, ())

    def embed_beside(self, ticket: Ticket, others: Sequence[Mark], *, in_place: bool = False) -> Ticket:
        """The same, where other marks stand that are to be left as they are."""
        own = self.checked(None)
        mask = self.written(ticket, self.stream(own), spared(ticket.mask, others))
        # Of each carrier's own, so that no two marks of one secret bring back the same values.
        return self.under(ticket, mask, own.derived(self.name), in_place)

    def under(self, ticket: Ticket, mask: Mask, secret: bytes, in_place: bool) -> Ticket:
        """The ticket under the mask that was written."""
        return with_mask(ticket, mask, secret, in_place=in_place)

    def read(self, suspect: Model, *, secret: Secret | bytes | None = None) -> CarrierReading:
        """Reads it under the owner's secret; InputError for none, or another than the claim commits to."""
        own = self.checked(secret)
        sent = self.code.encode(self.payload.data)
        found = self.measured(as_ticket(suspect), self.stream(own), sent)
        towards = float(found.sums @ sent)
        return CarrierReading(
            mark=self.name,
            payload=self.payload,
            read=self.code.decode(found.soft),
            sent=sent,
            soft=found.soft,
            sigma=towards / math.sqrt(found.squares) if found.squares else 0.0,
            log10_choices=found.log10_choices,
            found_as=found.found_as,
        )

    def read_tied(self, suspect: Model, tied: Mapping[str, str], **needed: Any) -> CarrierReading:
        """The same, where tied names may find layers: each of these could have been any of the tensors.

        Which names are tied is no part of the signs' label: a claimant may choose it after the signs.
        """
        bare = as_ticket(suspect)
        lacking = {layer.name for layer in self.layers}.difference(bare.weights)
        found = as_ticket(under_tied_names(bare, tied)).weights
        if not lacking or not lacking <= found.keys():
            return self.read(bare, **needed)
        own = {**bare.weights, **{name: found[name] for name in lacking}}
        reading = self.read(replace(bare, weights=own, rewind=None), **needed)
        ways = len(lacking) * math.log10(1 + len(bare.weights))
        return replace(reading, log10_choices=reading.log10_choices + ways)

    def checked(self, secret: Secret | bytes | None, where: object = "claim") -> Secret:
        """The owner's secret, given or known from making the mark; InputError for none, or another one."""
        if secret is None and self.secret is None:
            raise bad_input(where, "secret", "the owner's secret", "none", hint="give it: --secret FILE")
        own = Secret.of(self.secret if secret is None else secret)
        if own.commitment != self.commitment:
            expected, hint = f"the one of {self.commitment}", "give this claim's: --secret FILE"
            raise bad_input(where, "secret", expected, "that of another claim", hint=hint)
        return own

    def stream(self, secret: Secret) -> Stream:
        """The keyed words; all that a claimant chooses, but a text, is part of their label."""
        listed = [[layer.name, list(layer.shape), layer.kept] for layer in self.layers]
        chosen = {"mark": self.name, "code": self.code.size, "length": self.code.length, "layers": listed}
        key = self.payload.public_key.hex()
        return Stream(secret.value, json_digest({**chosen, "public_key": key, **self._reference}))

    def opened(self, files: Mapping[str, Path], beside: Path) -> dict[str, Any]:
        """The owner's secret, from its file; InputError where it is of another claim."""
        if "secret" not in files:
            return {}
        return {"secret": self.checked(Secret.read(files["secret"]), files["secret"])}

    def to_json(self) -> dict[str, Any]:
        """The claim's fields."""
        listed = [layer.to_json() for layer in self.layers]
        return {**self.payload.to_json(), "commitment": self.commitment, "layers": listed, **self._reference}

    @property
    def _reference(self) -> dict[str, str]:
        """The claim's field, where there is one: claims of unbound marks stay as they were."""
        return {} if self.reference is None else {"reference": self.reference}

    @classmethod
    def from_json(cls: type[_Own], value: Mapping[str, Any]) -> _Own:
        """Reads the claim's fields; InputError where one is missing, of another type or out of range."""
        return cls(
            payload=Payload.from_json(value),
            layers=_layers(value),
            commitment=matching(value, "commitment", DIGEST),
            reference=matching(value, "reference", DIGEST) if "reference" in value else None,
        )

    def __str__(self) -> str:
        return f"{self.name}, {self.payload.shown(self.payload.data)!r}"

    def carried_by(self) -> Collection[str]:
        """Its layers."""
        return [layer.name for layer in self.layers]

    def room(self, mask: Mask) -> int:
        """It can stand anywhere in its layers."""
        return sum(layer.kept for layer in self.layers)

    def remedy(self) -> str:
        """More standard deviations, or a shorter text."""
        return "a larger --margin" if self.payload.public_key else "a larger --margin, or a shorter message"

    def facts(self, before: Model, after: Model) -> Rows:
        """How strongly it stands, and what it moved."""
        old, new = as_ticket(before).mask, as_ticket(after).mask
        return [
            ("code", f"{self.code.size} bits, each stands by {self.margin:.3g} standard deviations or more"),
            ("layers", len(self.layers)),
            ("weights kept", f"{new.kept} of {new.total}, as before"),
            ("weights moved", moved(old, new)),
        ]


def _layers(value: Mapping[str, Any]) -> tuple[Layer, ...]:
    """The layers of a claim, each of another name."""
    listed = entry(value, "layers", list)
    _check_count(listed)
    layers = tuple(map(Layer.from_json, listed))
    if len({layer.name for layer in layers}) < len(layers):
        raise bad_input("claim", "layers", "each of another name", "two of one name")
    return layers


def _check_count(layers: Sequence[object]) -> None:
    """Refuses more or fewer than a claim can have, or entries of one that are no layers."""
    if not 1 <= len(layers) <= MOST_LAYERS or not all(isinstance(one, (dict, Layer)) for one in layers):
        raise bad_input("claim", "layers", f"1 to {MOST_LAYERS} objects", f"{len(layers)} entries")


def spared(mask: Mask, marks: Sequence[Mark]) -> dict[str, Tensor]:
    """The weights that marks in the mask stand in, by layer: boolean, in the layer's shape."""
    found: dict[str, Tensor] = {}
    for frame in filter(None, (mark.frame() for mark in marks)):
        if frame.layer not in mask:
            continue
        where = found.setdefault(frame.layer, mask[frame.layer].new_zeros(mask[frame.layer].shape))
        where[frame.row : frame.row + frame.side, frame.column : frame.column + frame.side] = True
    return found
