"""A walk through the reference's graph: which part of a suspect is each layer and each batch norm of it.

The channels that a layer reads are known when the walk comes to it; so its kernels can be compared, and the
channels that it writes become known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from math import inf, log10

import torch
from torch import Tensor

from ticket_sig.errors import bad_input
from ticket_sig.models.graph import Link
from ticket_sig.recovery.candidates import Candidate, Slot, chains, single
from ticket_sig.recovery.channels import Channels
from ticket_sig.recovery.comparing import Found, Rows, compared, in_place, rows_of, with_copies
from ticket_sig.recovery.known import Known, ungrouped
from ticket_sig.recovery.normed import Affine, Written, affine_of, norms_alike, nothing, per_channel
from ticket_sig.recovery.parts import Part
from ticket_sig.recovery.reference import UNSIGNED

_CLEAR = 0.9  # a layer that is so much alike needs no product of two to be compared with it
DOUBTFUL = 0.35  # a layer that is less alike is taken only where nothing else leads on
_STAGES = 3  # after which a layer may be taken (`_plain_first`)
_MOST_PRODUCTS = 1024  # that are compared with a layer: a thief's spare tensors have millions
_NORMS = 3  # further batch norms that are tried for one
_BETTER = 0.1  # by how much what is less plain must fit better


@dataclass
class Walked:
    """Which part is what.

    Attributes:
        layers: by the name of the reference's weight, with what they had to fit.
        scores: how much alike each of them is, 0 to 1.
        norms: by the name of the reference's weight; None where it is fused with the layer before it.
        split: by the name of a layer's weight, the batch norm behind it that the reference has not.
        symmetry: by which the network was turned (`candidates.turned`).
        log10_choices: of all the parts that were compared.
    """

    symmetry: int = 0
    layers: dict[str, tuple[Candidate, Slot]] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    norms: dict[str, Part | None] = field(default_factory=dict)
    split: dict[str, Part] = field(default_factory=dict)
    log10_choices: float = 0.0


class Walk:
    """Goes through the reference's links once, in topological order."""

    def __init__(
        self,
        layers: Sequence[Part],
        norms: Sequence[Part],
        known: Known,
        symmetry: int,
        tried: Mapping[str, Collection[tuple[Part, ...]]] | None = None,
    ) -> None:
        self._known, self._graph, self._tried = known, known.graph, tried or {}
        self._layers, self._norms = list(layers), list(norms)
        self._vector = torch.full((self._graph.nodes,), -1)
        self._position = torch.zeros(self._graph.nodes, dtype=torch.int64)
        self._channels: list[Channels] = []
        self._widths: list[int] = []
        self._normed = {tuple(k.tails.flatten().tolist()) for k in self._graph.links if k.norm}
        self.walked = Walked(symmetry)
        self.doubts: list[str] = []  # what could be another part that was not tried, in order
        self.unsure: list[str] = []  # batch norms that were found, where one could be fused as well
        self.lacks_norm = False
        self._know(self._graph.inputs, Channels.plain(len(self._graph.inputs)))

    def taken(self, name: str) -> tuple[Part, ...]:
        """The parts that a layer or a batch norm of the reference is; none for one that is fused."""
        layer = self.walked.layers.get(name)
        return layer[0].parts if layer else _parts(self.walked.norms[name])

    def steps(self) -> Iterator[Slot | None]:
        """Goes on by one link at a time; gives the layer that was found, or None for another link.

        Raises:
            InputError: the suspect has no such layer or batch norm.
        """
        for index, link in enumerate(self._graph.links):
            slot = None
            channels = self._read(link.tails.flatten())
            if link.name is None:
                out = replace(channels, written=None)
            elif link.norm:
                out = self._norm(link, channels)
            else:
                slot, out = self._layer(index, link, channels)
            if bool((self._vector[link.heads] < 0).any()) and (
                link.name or len(out.of) == link.heads.numel()
            ):
                self._know(link.heads.flatten(), out)
            yield slot

    def _know(self, nodes: Tensor, channels: Channels) -> None:
        """Takes down what is known of a layer's output."""
        self._vector[nodes] = len(self._channels)
        self._position[nodes] = torch.arange(len(nodes))
        self._channels.append(channels)
        self._widths.append(len(nodes))

    def _read(self, nodes: Tensor) -> Channels:
        """The suspect's channels that a layer of it reads: those of one output, or of several in a row."""
        vector, position = self._vector[nodes], self._position[nodes]
        goes_on = (vector[1:] == vector[:-1]) & ((position[1:] == position[:-1] + 1) | (vector[1:] < 0))
        ends = [0, *((~goes_on).nonzero()[:, 0] + 1).tolist(), len(nodes)]
        parts: list[Channels] = []
        for start, end in pairwise(ends):
            part = self._run(int(vector[start]), int(position[start]), end - start)
            parts.append(replace(part, of=torch.where(part.of >= 0, part.of + start, -1)))
        if len(parts) == 1:
            return parts[0]
        return Channels(torch.cat([p.of for p in parts]), torch.cat([p.factor for p in parts]))

    def _run(self, vector: int, start: int, count: int) -> Channels:
        """Neighbouring channels of one output: all of them, or as many in the same places."""
        if vector < 0:  # channels of zeros
            return Channels.unknown(count)
        whole = self._channels[vector]
        if count == self._widths[vector]:
            return whole
        of, factor = whole.of[start : start + count] - start, whole.factor[start : start + count]
        return Channels(torch.where((of >= 0) & (of < count), of, -1), factor)

    def _layer(self, index: int, link: Link, channels: Channels) -> tuple[Slot, Channels]:
        """Finds a layer, unless it is there a second time."""
        assert link.name is not None
        first = torch.equal(link.tails.flatten(), self._graph.inputs)
        slot = Slot(link, tuple(self._known.weights[link.name].shape), len(channels.of), first)
        if link.name in self._known.marked:
            return slot, self._told_by_shape(slot)
        rows = self._known.rows(link)
        if link.name in self.walked.layers:
            candidate = self.walked.layers[link.name][0]
            found, own = _compare(candidate, slot, channels, rows)
        else:
            candidate, found, own = self._chosen(slot, channels, rows)
            self._take(slot, candidate, found.score)
        biases = candidate.bias, self._known.values(link.name).get("bias")
        written = (_written(own, biases[0]), _written(rows, biases[1]))
        out = Channels(found.of, found.factor, written)
        return slot, self._unsplit(index, link, out, candidate.bias is not None)

    def _take(self, slot: Slot, candidate: Candidate, score: float) -> None:
        """Takes down which part a layer is."""
        name = str(slot.link.name)
        self.walked.layers[name], self.walked.scores[name] = (candidate, slot), score
        self._layers = [part for part in self._layers if part not in candidate.parts]
        self._norms = [part for part in self._norms if part not in candidate.parts]

    def _told_by_shape(self, slot: Slot) -> Channels:
        """Finds a layer that takes no part in choosing; nothing becomes known of its channels."""
        name, width = str(slot.link.name), slot.link.heads.numel()
        if name not in self.walked.layers:
            fit = [one for one in self._singles(slot, self.walked.symmetry) if len(one.kernels) == width]
            if len(fit) != 1:
                expected = "one layer of its shape, as it carries the mark"
                raise bad_input("suspect", name, expected, str(len(fit)), hint=UNSIGNED)
            self._take(slot, fit[0], 0.0)
        return Channels.unknown(width)

    def _chosen(self, slot: Slot, channels: Channels, rows: Rows) -> tuple[Candidate, Found, Rows]:
        """The part, or the product of two, that is most alike the reference's layer."""
        best, count, near = None, 0, 0
        for candidates in self._plain_first(slot):
            if best is not None and best[1].score >= _CLEAR:
                break
            other, more, well = self._best(candidates, slot, channels, rows)
            count, near = count + more, near + well
            if other and (best is None or other[1].score > best[1].score + _BETTER):
                best = other
        if best is None:
            expected = f"a layer of the shape {list(slot.shape)} that reads {slot.width} channels"
            raise bad_input("suspect", str(slot.link.name), expected, "none")
        if near > (best[1].score >= DOUBTFUL):
            self.doubts.append(str(slot.link.name))
        self.walked.log10_choices += log10(count * _STAGES)
        candidate, found, own = best
        return candidate, found if slot.depthwise else with_copies(found, own), own

    def _plain_first(self, slot: Slot) -> Iterator[Iterator[Candidate]]:
        """What the layer could be: a part; one that was not turned, in a turned network; products of two.

        A layer that reads images of one pixel computes the same whether it is turned or not.
        """
        symmetry = self.walked.symmetry
        yield self._singles(slot, symmetry)
        if symmetry and slot.spatial:
            yield self._singles(slot, 0)
        if len(self._layers) > len(self._known.layers - self.walked.layers.keys()):
            yield islice(chains(self._layers, self._norms, slot, symmetry), _MOST_PRODUCTS)

    def _singles(self, slot: Slot, symmetry: int) -> Iterator[Candidate]:
        """The parts that are left, where they fit."""
        return (one for part in self._layers if (one := single(part, slot, symmetry)) is not None)

    def _best(
        self, candidates: Iterator[Candidate], slot: Slot, channels: Channels, rows: Rows
    ) -> tuple[tuple[Candidate, Found, Rows] | None, int, int]:
        """The most alike candidate that was not tried; how many there are, and how many of them are alike."""
        best, count, near = None, 0, 0
        tried = self._tried.get(str(slot.link.name), ())
        for candidate in candidates:
            count += 1
            if candidate.parts in tried:
                continue
            found, own = _compare(candidate, slot, channels, rows)
            near += found.score >= DOUBTFUL
            if best is None or found.score > best[1].score:
                best = candidate, found, own
        return best, count, near

    def _norm(self, link: Link, channels: Channels) -> Channels:
        """Finds a batch norm, unless it is fused with the layer before it."""
        assert link.name is not None
        values, eps = self._known.values(link.name), self._known.eps(link.name)
        theirs = affine_of(per_channel(values, link.heads.numel()), eps)
        if link.name in self.walked.norms:
            part = self.walked.norms[link.name]
        else:
            part = self._chosen_norm(link.name, channels, theirs)
            self.walked.norms[link.name] = part
            self._norms = [one for one in self._norms if one is not part]
        if part is None:
            return channels.behind(nothing(len(channels.of)), theirs)
        own = per_channel(part.values, len(channels.of))
        return channels.behind(affine_of(own, eps), theirs)

    def _chosen_norm(self, name: str, channels: Channels, theirs: Affine) -> Part | None:
        """The batch norm that is most alike the reference's; None where it is fused with the layer before."""
        width, count = len(channels.of), len(theirs.scale)
        values, eps = self._known.values(name), self._known.eps(name)
        pixels = len(values["running_var"]) // count
        values = per_channel(values, count)
        fit = [part for part in self._norms if part.width == width * pixels]
        at, of = channels.firsts()

        def score(part: Part) -> float:
            own = per_channel(part.values, width)
            level = channels.level(affine_of(own, eps), theirs)
            return max(norms_alike(own, values, at, of), level, channels.spread(own, values))

        self.walked.log10_choices += log10(len(fit) + 1)  # or none
        biased = channels.written is not None and bool(channels.written[0].biases.any())
        self.lacks_norm = not fit and not biased and bool(self._norms)
        if self.lacks_norm:
            raise bad_input("suspect", name, f"a batch norm of {width * pixels} channels", "none")
        scores: dict[Part | None, float] = {part: score(part) for part in fit}
        if biased or not fit:  # a bias is what a fused norm leaves
            scores[None] = channels.level(nothing(width), theirs) + _BETTER
        tried = self._tried.get(name, ())
        left = [part for part in scores if _parts(part) not in tried]
        best = max(left, key=scores.__getitem__)
        if len(left) > 1 and len(tried) < _NORMS:
            self.doubts.append(name)
        if biased and best is not None:
            self.unsure.append(name)
        return best

    def _unsplit(self, index: int, link: Link, channels: Channels, biased: bool) -> Channels:
        """Finds the batch norm behind a layer that has none in the reference, or another one."""
        assert channels.written is not None
        name, (own, theirs) = str(link.name), channels.written

        def behind(part: Part | None) -> Channels:
            """The channels, if this batch norm follows; as they are, if none does."""
            if part is None:
                return channels
            affine = affine_of(part.values)
            new = Written(own.lengths * affine.scale.abs(), affine.shift + affine.scale * own.biases)
            return replace(channels.scaled(affine.scale), written=(new, theirs))

        if name in self.walked.split:
            return behind(self.walked.split[name])
        fit = [part for part in self._norms if part.width == len(channels.of)]
        plain, normed = not bool(theirs.biases.any()), tuple(link.heads.flatten().tolist()) in self._normed
        readers = self._readers(index, link, len(channels.of)) if fit and plain else []
        if not fit or len(self._norms) <= self._known.norms_from(index) or (normed and not readers):
            return channels

        def score(part: Part | None) -> float:
            """How alike the reference's they then are; the larger, the more."""
            if not plain:
                return behind(part).level(nothing(len(channels.of)), nothing(len(theirs.lengths)))
            if part is not None and _adds(part):
                return -inf
            if not readers:
                return behind(part).sizes()
            return max(
                (behind(part).spread(*both) for other, *both in readers if other is not part), default=-1.0
            )

        best = max(fit, key=score)
        self.walked.log10_choices += log10(len(fit) * max(1, len(readers)) + 1)
        sure = not self._later(index, link) if plain else not biased
        without = -2.0 if sure else score(None) + _BETTER * (normed or not plain)
        if score(best) < without:
            return channels
        self.walked.split[name] = best
        self._norms = [one for one in self._norms if one is not best]
        return behind(best)

    def _later(self, index: int, link: Link) -> bool:
        """Whether a layer of so many channels is still to be found."""
        left = (k for k in self._graph.links[index + 1 :] if k.name and not k.norm)
        return any(k.heads.numel() == link.heads.numel() and k.name not in self.walked.layers for k in left)

    def _readers(
        self, index: int, link: Link, width: int
    ) -> list[tuple[Part, dict[str, Tensor], dict[str, Tensor]]]:
        """What could be the batch norm that first reads a layer, which writes so many channels.

        Returns:
            Parts; and their values and the reference's, by role, of the channels that the layer writes.
        """
        heads, links = link.heads.flatten(), self._graph.links[index + 1 :]
        count = len(heads)
        norm = next((k for k in links if k.norm and bool(torch.isin(heads, k.tails).all())), None)
        tails = heads if norm is None else norm.tails.flatten()
        start = int((tails == heads[0]).nonzero()[0, 0])
        if norm is None or not torch.equal(tails[start : start + count], heads):
            return []
        before = len(self._read(tails[:start]).of) if start else 0
        new = width - count if int(self._vector[heads[0]]) < 0 else 0
        total = len(self._read(tails).of) + new
        values = per_channel(self._known.values(str(norm.name)), len(tails))
        theirs = {role: t[start : start + count] for role, t in values.items()}
        return [
            (part, {role: t[before : before + width] for role, t in part.values.items()}, theirs)
            for part in self._norms
            if part.width == total
        ]


def _compare(candidate: Candidate, slot: Slot, channels: Channels, rows: Rows) -> tuple[Found, Rows]:
    """Which rows of a candidate are those of the reference's layer; and they themselves."""
    kernels = ungrouped(candidate.kernels, slot.link)
    if slot.depthwise:
        return _compare_depthwise(kernels, slot, channels, rows)
    read = channels.of >= 0
    inputs = kernels.new_zeros(len(kernels), slot.link.tails.numel(), kernels.shape[2], dtype=torch.float64)
    known = kernels[:, read].double() * channels.factor[read, None]
    own = rows_of(inputs.index_add_(1, channels.of[read], known))
    return compared(own, rows), own


def _compare_depthwise(kernels: Tensor, slot: Slot, channels: Channels, rows: Rows) -> tuple[Found, Rows]:
    """The same where every row belongs to the channel that it reads."""
    each = slot.link.shape[1]
    places = torch.arange(len(kernels))
    read = channels.of[places // each]
    of = torch.where(read >= 0, read * each + places % each, -1)
    factor = channels.factor[places // each]
    own = rows_of(kernels.double() * factor.sign()[:, None, None])
    found = in_place(own, rows, of)
    return replace(found, factor=Channels(of, found.factor * factor.abs()).scaled(own.lengths).factor), own


def _parts(norm: Part | None) -> tuple[Part, ...]:
    return () if norm is None else (norm,)


def _written(rows: Rows, bias: Tensor | None) -> Written:
    return Written(rows.lengths, torch.zeros_like(rows.lengths) if bias is None else bias.double())


def _adds(norm: Part) -> bool:
    """Whether a batch norm adds something: its bias does not take back what its mean takes away."""
    affine = affine_of(norm.values)
    moved = norm.values["running_mean"].double() * affine.scale
    return float(affine.shift.norm()) > (1 - _CLEAR) * float(moved.norm())
