"""The mask: which weights of a sparse network are kept (NeurIPS'21, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from ticket_sig.errors import InputError, bad_input, refuse, some
from ticket_sig.wrappers import without

_PART = 1 << 20


@dataclass(frozen=True)
class LayerDensity:
    """One row of a mask's density table; kernels are the cells of the kernel map."""

    name: str
    shape: tuple[int, ...]
    kept: int
    total: int
    kept_kernels: int
    kernels: int

    @property
    def density(self) -> float:
        """Kept weights over all weights of the layer (1.0 for a layer without weights)."""
        return self.kept / self.total if self.total else 1.0


class Mask(Mapping[str, Tensor]):
    """For each prunable tensor, by parameter name, a boolean tensor of its shape: True = kept.

    Immutable: the tensors are copied in, on the CPU. Names keep the order they came in.

    Raises:
        InputError: a tensor is not boolean, or has fewer than 2 dimensions; all of them are named.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = {
            name: t.clone(memory_format=torch.contiguous_format) for name, t in _checked(tensors).items()
        }

    @classmethod
    def of_own(cls, tensors: Mapping[str, Tensor]) -> Mask:
        """The same without a copy: of tensors that nobody will change."""
        mask = cls({})
        mask._tensors = {name: t.contiguous() for name, t in _checked(tensors).items()}
        return mask

    @classmethod
    def of_zeros(cls, weights: Mapping[str, Tensor]) -> Mask:
        """Reads the mask off the weights: zero = pruned.

        Only floating-point tensors of 2 or more dimensions can be prunable. Where some of them
        hold zeros, the others (a first convolution, a classifier) are taken as never pruned and
        left out; where none does, the model is dense and all of them are in.
        """
        kept = cls.of_matrices(weights)
        pruned = {name: k for name, k in kept.items() if not k.all()}
        return cls.of_own(pruned) if pruned else kept

    @classmethod
    def of_matrices(cls, weights: Mapping[str, Tensor]) -> Mask:
        """The same with every floating-point tensor of 2 or more dimensions in it, pruned or not.

        Of tied weights, which are one tensor under several names, the first name alone.
        """
        matrices = {name: w for name, w in weights.items() if w.is_floating_point() and w.ndim >= 2}
        first: dict[object, str] = {}
        return cls.of_own({n: w != 0 for n, w in matrices.items() if first.setdefault(memory_of(w), n) == n})

    @classmethod
    def full(cls, weights: Mapping[str, Tensor]) -> Mask:
        """The mask of a dense network: everything is kept."""
        return cls({name: torch.ones(w.shape, dtype=torch.bool) for name, w in weights.items()})

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"Mask({len(self)} tensors, {self.kept} of {self.total} kept, density {self.density:.4f})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Mask)
            and self.keys() == other.keys()
            and all(torch.equal(self[name], other[name]) for name in self)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def kept(self) -> int:
        """Number of kept weights."""
        return sum(_nonzero(t) for t in self.values())

    @property
    def total(self) -> int:
        """Number of prunable weights."""
        return sum(t.numel() for t in self.values())

    @property
    def density(self) -> float:
        """kept / total; 1.0 for a mask over nothing."""
        return self.kept / self.total if self.total else 1.0

    @property
    def sparsity(self) -> float:
        """1 - density."""
        return 1.0 - self.density

    def kernel_map(self, name: str) -> Tensor:
        """Boolean matrix [out channels, in channels]: True where any weight of that kernel is kept."""
        return kernel_map(self[name])

    def table(self) -> list[LayerDensity]:
        """Density of every layer, in the mask's order."""
        rows = []
        for name, kept in self.items():
            kernels = kernel_map(kept)
            counts = _nonzero(kept), kept.numel(), _nonzero(kernels), kernels.numel()
            rows.append(LayerDensity(name, tuple(kept.shape), *counts))
        return rows

    def __and__(self, other: Mask) -> Mask:
        """Intersection: what both keep; InputError where names or shapes differ, with all differences."""
        self.check_shapes(other, "the other mask")
        if extra := sorted(other.keys() - self.keys()):
            raise bad_input("the other mask", "names", "those of this one", f"also {', '.join(extra)}")
        return Mask({name: kept & other[name] for name, kept in self.items()})

    def outside(self, other: Mask) -> int:
        """How many weights it keeps, in the layers of another mask, that the other does not."""
        return sum(_nonzero(self[name] > kept) for name, kept in other.items())

    def apply(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the weights with exact zeros where pruned; tensors outside the mask pass as they are.

        Raises:
            InputError: a masked tensor is missing or has another shape; the first are listed.
        """
        self.check_shapes(weights, "weights")
        return {
            # Of float8 and others torch has no masked_fill.
            name: torch.where(self[name].to(w.device), w, w.new_zeros(())) if name in self else w
            for name, w in weights.items()
        }

    def check(self, weights: Mapping[str, Tensor], where: str = "weights") -> None:
        """Checks promise 1: every pruned weight is exactly zero.

        Raises:
            InputError: a masked tensor is missing, has another shape, or is not zero where pruned;
                each is named, with the count.
        """
        self.check_shapes(weights, where)
        counts = {name: _stray(weights[name].cpu(), kept) for name, kept in self.items()}
        found = {name: count for name, count in counts.items() if count}
        refuse(where, (f"{n}: expected zeros where pruned, found {k} that are not" for n, k in found.items()))

    def check_shapes(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Checks that every masked tensor is there in its shape; an InputError lists those that are not."""
        refuse(where, differences(self, {name: tensors[name] for name in self if name in tensors}))

    def bind(self, parameters: Mapping[str, Tensor]) -> Callable[[], None]:
        """Returns a function that puts the pruned weights of these parameters back to zero, in place.

        Call it after every optimizer step; it costs one fused multiplication.

        Args:
            parameters: `dict(network.named_parameters())`, also of a network in DataParallel or compiled.

        Raises:
            InputError: a masked parameter is missing, has another shape or none yet, or is computed from
                another one by `torch.nn.utils.prune`.
        """
        bound = list(masked_parameters(self, parameters).values())
        factors = [torch.empty(0)] * len(bound)

        @torch.no_grad()
        def hold() -> None:
            for index, (p, kept) in enumerate(zip(bound, self.values(), strict=True)):
                if factors[index].device != p.device or not factors[index].numel():
                    # One layout for a weight and its factor, else the multiplication takes a slow path.
                    factors[index] = torch.empty_like(p).copy_(kept)
            if bound:
                torch._foreach_mul_(bound, factors)

        hold()
        return hold


def _checked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a mask is made of, on the CPU."""
    problems = (
        f"{name}: expected a boolean tensor of 2 or more dimensions, found {described(t)}"
        for name, t in tensors.items()
        if not isinstance(t, Tensor) or t.dtype != torch.bool or t.ndim < 2
    )
    refuse("mask", problems)
    return {name: t.detach().cpu() for name, t in tensors.items()}


def _stray(weights: Tensor, kept: Tensor) -> int:
    """How many weights are not zero where they are pruned."""
    parts = zip(in_parts(weights), in_parts(kept), strict=True)
    return sum(_nonzero((some != 0) > still) for some, still in parts)


def in_parts(tensor: Tensor) -> Sequence[Tensor]:
    """A tensor in views of some rows, about a million entries: what is made of a view takes little memory."""
    return torch.split(tensor, max(1, _PART // max(1, tensor[:1].numel())))


def masked_parameters(mask: Mask, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The masked parameters, in the mask's order, whatever wrappers put into their names.

    Raises:
        InputError: as `Mask.bind`.
    """
    hint = "hand in dict(network.named_parameters())"
    if not isinstance(parameters, Mapping):
        raise bad_input("", "parameters", "tensors by name", f"a {type(parameters).__name__}", hint=hint)
    names: dict[str, list[str]] = {}
    for name in parameters:
        names.setdefault(without(name), []).append(name)
    found = {}
    for name in mask:
        alike = [name] if name in parameters else names.get(without(name), [])
        if len(alike) == 1:
            found[name] = parameters[alike[0]]
        elif not alike and f"{without(name)}_orig" in names:
            raise pruned_by_torch("parameters", name)
    if lazy := [name for name, p in found.items() if is_lazy(p)]:
        raise not_yet_shaped("parameters", lazy[0])
    mask.check_shapes(found, "parameters")
    return found


def pruned_by_torch(where: str, name: str) -> InputError:
    """The error for a parameter that is asked for, and computed from another one."""
    hint = "make the pruning permanent: torch.nn.utils.prune.remove(module, 'weight')"
    return bad_input(where, name, "a parameter", "one that torch.nn.utils.prune masks", hint=hint)


def not_yet_shaped(where: str, name: str) -> InputError:
    """The error for a tensor of a lazy layer."""
    return bad_input(where, name, "a shape", "a lazy one", hint="call the network on a batch first")


def no_layer(mask: Mask, name: str) -> InputError:
    """The error for a layer that the mask does not have."""
    return bad_input("", "layer", f"one of the mask's ({some(list(mask))})", name)


def differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Every tensor that is missing, that is too many or that has another shape, in words."""
    missing = [f"{name}: expected, not found" for name in expected if name not in found]
    extra = [f"{name}: found, not expected" for name in found if name not in expected]
    shapes = [
        f"{name}: expected shape {list(t.shape)}, found {list(found[name].shape)}"
        for name, t in expected.items()
        if name in found and found[name].shape != t.shape
    ]
    return sorted(missing + extra + shapes)


def memory_of(tensor: Tensor) -> tuple[object, ...]:
    """What tied weights share while they live; a tensor that has no memory shares nothing."""
    if not tensor.numel() or tensor.is_meta or tensor.layout != torch.strided:
        return (id(tensor),)
    start = tensor.untyped_storage().data_ptr()
    return start, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


def kernel_map(kept: Tensor) -> Tensor:
    """Boolean matrix [out channels, in channels] of one layer's mask or weights (nonzero = kept)."""
    kept = kept if kept.dtype == torch.bool else kept != 0
    return kept.flatten(2).any(2) if kept.ndim > 2 else kept


def _nonzero(tensor: Tensor) -> int:
    return int(torch.count_nonzero(tensor))


def described(value: object) -> str:
    """A tensor for a message: `float32 [3, 4]`."""
    if isinstance(value, Tensor):
        return f"{dtype_name(value.dtype)} {list(value.shape)}"
    return "none" if value is None else f"a {type(value).__name__}"


def dtype_name(dtype: torch.dtype) -> str:
    """A type's name: `float32`."""
    return str(dtype).removeprefix("torch.")
