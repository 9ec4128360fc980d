"""NCT: bits that a small classifier reads off a network that is left as it is.

    mark = Nct.make(ticket, NctOptions(message="owner@example.org"))
    mark.read(suspect).message

One of the three technologies of MPAI-NNW (NNW-TEC V1.0): a key selects parameters of the clear,
non-watermarked network, and a classifier reads the message. Nothing is put in: what is made is the
classifier. One can be trained to read any message in any network, so that a reading proves nothing by itself:
the p-value would have to count all classifiers, and there are more of them than messages. So the mark is
never verified without a date of its claim, which nobody here can check. What it reads is told, with the
p-value that it has for a network which is younger than the claim.

How the parameters are selected, the form of the classifier, and the p-value are ours.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ticket_sig.errors import bad_input
from ticket_sig.fields import entry, hexadecimal, whole
from ticket_sig.formats.names import found_elsewhere
from ticket_sig.formats.patch import Entries
from ticket_sig.formats.weights import Renamed, Weights, find_in
from ticket_sig.marks.bits import digits_of
from ticket_sig.marks.mark import DTYPES, Mark, Model, as_weights, claimed_layers, matrices_of, signed
from ticket_sig.marks.nct.classifier import HIDDEN, MOST_HIDDEN, Classifier, trained
from ticket_sig.marks.nct.reading import Classified
from ticket_sig.marks.nct.selection import LEAST, MOST, Selection
from ticket_sig.marks.payload import BITS, PayloadOptions, bits_from, random_bits
from ticket_sig.options import Options, option, within
from ticket_sig.ticket import Ticket
from ticket_sig.verdict import Rows

_PER_BIT, _ROOM = 64, 32  # parameters of a bit: by default, and at least where random bits are as many as fit


@dataclass(frozen=True, kw_only=True)
class NctOptions(PayloadOptions):
    """What decides the payload, and how it is read."""

    layer: str | None = option(
        "Name of its weights; by default those of the largest layer, first and last tensor left out.",
        default=None,
    )
    per_bit: int | None = option(
        f"So many parameters for each bit; {_PER_BIT}, or as many as the layer has.",
        default=None,
        check=within(LEAST, MOST),
    )
    hidden: int = option("Hidden units of the classifier.", default=HIDDEN, check=within(1, MOST_HIDDEN))


@dataclass(frozen=True, eq=False)
class Nct(Mark):
    """A classifier that reads bits off parameters which a key selects; the network is not changed.

    Attributes:
        selection: which parameters, and the payload.
        classifier: was trained for the parameters of one network.
    """

    name: ClassVar[str] = "nct"
    stands_in: ClassVar[str] = "weights"
    carries: ClassVar[str] = "bits"
    options: ClassVar[type[Options] | None] = NctOptions
    passive: ClassVar[bool] = True

    selection: Selection = field(repr=False)
    classifier: Classifier = field(repr=False)

    @classmethod
    def make(cls, model: Model, options: NctOptions, secret: bytes | None = None) -> Nct:
        """Trains the classifier for a network; random bits follow from the secret, too.

        Raises:
            InputError: no such layer, one of too few weights, or with numbers that are not finite; or the
                classifier does not learn the bits.
        """
        weights, secret = as_weights(model), secrets.token_bytes(32) if secret is None else secret
        layer = _largest(weights) if options.layer is None else options.layer
        name = find_in(weights, {layer: None}).get(layer)
        if name is None:
            raise bad_input("model", "layer", repr(layer)[:80], "none of that name")
        shape = weights.shapes[name]
        size = math.prod(shape)
        count = options.random or max(1, min(BITS, size // _ROOM))
        payload = options.payload() or random_bits(secret, cls.name, count)
        per_bit = options.per_bit or max(LEAST, min(_PER_BIT, size // len(payload)))
        chosen = Selection(payload=payload, layer=layer, shape=shape, per_bit=per_bit, secret=secret)
        labels = np.array(chosen.labels())
        return cls(chosen, trained(chosen.vectors(weights), labels, options.hidden, secret))

    @property
    def layer(self) -> str:
        """Name of the layer whose parameters are read."""
        return self.selection.layer

    def embed(self, ticket: Ticket) -> Ticket:
        """The network as it is; InputError where the classifier was not trained for it."""
        reading = self.read(ticket)
        if reading.wrong:
            found = f"one with {reading.wrong} bits wrong"
            raise bad_input("model", self.layer, "the network that the classifier was trained for", found)
        return signed(ticket, {})

    def entries(self, weights: Weights) -> Mapping[str, Entries]:
        """No entry: a file is copied as it is, and only what is selected is read."""
        return {}

    def read(self, suspect: Model) -> Classified:
        """Reads the bits in the claimed layer; if none has its name, in that of its shape that fits best.

        InputError for none of that shape or several of that name, another dtype, or NaN.
        """
        weights = as_weights(suspect)
        found = (self._read(weights, n) for n in claimed_layers(weights, self.layer, self.selection.shape))
        return min(found, key=lambda reading: reading.log10_p)

    def _read(self, weights: Weights, name: str) -> Classified:
        """Reads the bits in this layer of a network."""
        chosen = self.selection
        there = weights if name == self.layer else Renamed(weights, {self.layer: name})
        logits = self.classifier.logits(chosen.vectors(there))
        labels = chosen.labels()
        return Classified(
            payload=chosen.payload,
            right=tuple((np.array(labels) == (logits > 0)).tolist()),
            labels=labels,
            logits=tuple(logits.tolist()),
            layers=len(matrices_of(weights)),
            found_as=found_elsewhere({self.layer: name}),
        )

    def to_json(self) -> dict[str, Any]:
        """The claim's fields; secret and payload are not for others."""
        chosen = self.selection
        return {
            "secret": chosen.secret.hex(),
            "payload": digits_of(chosen.payload),
            "layer": self.layer,
            "shape": list(chosen.shape),
            "per_bit": chosen.per_bit,
            "classifier": self.classifier.to_bytes().hex(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Nct:
        """Reads the claim's fields; InputError where one is missing, of another type or out of range."""
        chosen = Selection(
            payload=bits_from(entry(value, "payload", str)),
            layer=entry(value, "layer", str),
            shape=tuple(entry(value, "shape", list)),
            per_bit=whole(value, "per_bit", least=1),
            secret=hexadecimal(value, "secret"),
        )
        return cls(chosen, Classifier.from_bytes(hexadecimal(value, "classifier"), chosen.per_bit))

    def __str__(self) -> str:
        return f"{self.name}, {len(self.selection.payload)} bits read off {self.layer}"

    def facts(self, before: Model, after: Model) -> Rows:
        """What is read, and by what."""
        inputs, hidden = self.classifier.inner.shape
        return [
            ("layer", f"{self.layer}, {inputs} of its weights for each bit"),
            ("classifier", f"{hidden} hidden units, in the claim"),
            ("network", "not changed"),
        ]


def _largest(weights: Weights) -> str:
    """The layer with most weights; first and last are left out, where there are others.

    InputError where none can be read.
    """
    layers = [n for n, shape in weights.shapes.items() if len(shape) >= 2 and weights.dtypes[n] in DTYPES]
    if not layers:
        raise bad_input("model", "layers", "one of 2 or more dimensions", "none")
    return max(layers[1:-1] or layers, key=lambda name: math.prod(weights.shapes[name]))
