"""Which layers of a network are worth being sparse: each is measured both ways, and then the whole network.

What was measured is kept in the cache folder, by machine, threads, precision, shape and density.
"""

from __future__ import annotations

import contextlib
import copy
import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ticket_sig.digests import short_digest
from ticket_sig.errors import InputError
from ticket_sig.files import cache_folder, read_json, write_json
from ticket_sig.mask import Mask
from ticket_sig.models.sparse import norm_relu, operators
from ticket_sig.models.sparse.layers import as_sparse, densify, kept_by_identity, pruned_layers, takeable
from ticket_sig.native import fingerprint, library

_RUNS = 3
# Of the dense network's time, what sparse layers must stay under: a level takes more than these steps, and on
# a processor with AMX one that was chosen for 5 % was slower as a whole (`benchmarks/sparse_search.py`).
_CLEARLY = 0.85
_COLOURS = 4  # channels that an image has at most
Shape = tuple[int, ...]


def sparse_kernels() -> str | None:
    """The fingerprints of the kernels in C; None where this machine cannot compile them."""
    libraries = [library(source) for source in (operators.SOURCE, norm_relu.SOURCE)]
    return None if None in libraries else "-".join(fingerprint(one) for one in libraries if one is not None)


def whole(model: nn.Module, mask: Mask) -> tuple[str, ...]:
    """All layers that something is pruned of and that can be sparse, and the convolutions of images.

    Of the first convolution nothing is pruned. It costs little, and activations then keep one layout.
    """
    layers = takeable(model, mask)
    pruned = {name for name, why in pruned_layers(model, mask).items() if not why}
    beside = {n for n, m in layers.items() if isinstance(m, nn.Conv2d) and m.in_channels <= _COLOURS}
    return tuple(name for name in layers if name in pruned or (pruned and name in beside))


def choose(
    model: nn.Module,
    mask: Mask,
    images: Shape,
    precision: str,
    note: Callable[[str], None],
    *,
    training: bool = True,
) -> tuple[str, ...]:
    """Names of the weights of the layers that are faster sparse; none where the whole network is not.

    Args:
        model: it is left as it is.
        images: shape of a batch, [batch, channels, height, width].
        precision: "float32" or "bf16".
        note: told what was found.
        training: forward and backward count; else forward alone, in evaluation.
    """
    if sparse_kernels() is None:
        note("sparse layers: none, as this machine has no C compiler that makes them")
        return ()
    candidates = whole(model, mask)
    if not candidates:
        return ()
    bench = Bench(model, mask, images, precision, training)
    times = {name: bench.layer(name) for name in candidates}
    faster = tuple(name for name, (dense, sparse) in times.items() if sparse < dense)
    tried = {names: bench.network(names) for names in dict.fromkeys(((), faster, candidates))}
    best = min(tried, key=lambda names: tried[names] * (1 if names else _CLEARLY))
    work = "forward and backward" if training else "a batch"
    found = f"{1e3 * tried[best]:.0f} ms {work}, {1e3 * tried[()]:.0f} ms dense"
    note(f"sparse layers: {len(best)} of {len(candidates)} ({found})")
    return best


class Bench:
    """Measures layers and networks, sparse and dense, on a copy of the network and a made-up batch.

    Args:
        images: shape of a batch, [batch, channels, height, width].
        precision: "float32" or "bf16".
        training: forward and backward count; else forward alone, in evaluation.
    """

    def __init__(self, model: nn.Module, mask: Mask, images: Shape, precision: str, training: bool) -> None:
        self.twin = densify(copy.deepcopy(model)).train(training)
        self.mask, self.bf16, self.training = mask, precision == "bf16", training
        draw = torch.Generator().manual_seed(0)
        self.images = torch.randn(images, generator=draw).contiguous(memory_format=torch.channels_last)
        self.layers, self.kept = takeable(self.twin, mask), kept_by_identity(self.twin, mask)
        self.inputs = self._inputs()
        self.where = {**_machine(), "kernels": sparse_kernels(), "precision": precision, "training": training}

    def layer(self, name: str) -> list[float]:
        """Seconds of a layer alone, dense and sparse; zero where the network does not use it."""
        if name not in self.inputs:
            return [0.0, 0.0]
        shape, differentiable = self.inputs[name]
        asked = {**self.where, **self._described(name), "input": shape, "backward": differentiable}
        return _known(asked, 2, lambda: self._both_ways(name, shape, differentiable))

    def network(self, names: Collection[str]) -> float:
        """Seconds of the whole network with these layers sparse."""
        layers = {name: self._described(name) for name in self.layers}
        asked = {**self.where, "layers": layers, "sparse": list(names), "images": list(self.images.shape)}

        def measure() -> list[float]:
            with as_sparse(self.twin, self.mask, names):
                return [self._seconds(self.twin, self.images)]

        return _known(asked, 1, measure)[0]

    def _both_ways(self, name: str, shape: Shape, differentiable: bool) -> list[float]:
        """Seconds dense and sparse, each in the layout that it likes."""
        layer = nn.Sequential(copy.deepcopy(self.layers[name]))
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        x = x.to(torch.bfloat16 if self.bf16 and differentiable else torch.float32)
        last = x.permute(*range(1, x.ndim), 0).contiguous().permute(-1, *range(x.ndim - 1))
        first = x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
        kept = self._kept(name)
        mask = Mask({} if kept is None else {"0.weight": kept})
        dense = self._seconds(layer, first.requires_grad_(differentiable))
        with as_sparse(layer, mask, ["0.weight"]):
            return [dense, self._seconds(layer, last.requires_grad_(differentiable))]

    def _seconds(self, module: nn.Module, x: Tensor) -> float:
        """The least of a few runs, after one that is not counted: what else the machine does only adds."""
        times = []
        with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(self.training):
            for _ in range(_RUNS + 1):
                module.zero_grad()
                start = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                    y = module(x)
                if self.training and y.requires_grad:
                    y.backward(torch.ones_like(y))
                times.append(time.perf_counter() - start)
        return min(times[1:])

    def _inputs(self) -> dict[str, tuple[Shape, bool]]:
        """What each layer is given: its shape, and whether a gradient of it is asked for."""
        found: dict[str, tuple[Shape, bool]] = {}

        def hook(name: str) -> Callable[..., None]:
            def see(_: nn.Module, given: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
                x = given[0] if given else named["input"]
                found[name] = tuple(x.shape), x.requires_grad

            return see

        layers = self.layers.items()
        hooks = [layer.register_forward_pre_hook(hook(name), with_kwargs=True) for name, layer in layers]
        with torch.random.fork_rng(devices=[]):
            self.twin(self.images)
        for one in hooks:
            one.remove()
        return found

    def _kept(self, name: str) -> Tensor | None:
        """A layer's mask, also where its weight is tied and the mask has another name of it."""
        return self.kept.get(id(self.layers[name].weight))

    def _described(self, name: str) -> dict[str, Any]:
        layer = self.layers[name]
        kept = 1.0 if (mine := self._kept(name)) is None else float(mine.float().mean())
        options = ("stride", "padding", "dilation", "groups")
        geometry = {option: getattr(layer, option) for option in options if hasattr(layer, option)}
        return {"weight": list(layer.get_parameter("weight").shape), **geometry, "kept": f"{kept:.1e}"}


def _machine() -> dict[str, Any]:
    capabilities = dict(torch.cpu.get_capabilities()) if hasattr(torch.cpu, "get_capabilities") else {}
    name = capabilities.get("cpu_name", torch.backends.cpu.get_cpu_capability())
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA")  # how dense layers are done
    return {"cpu": name, "limit": limit, "torch": torch.__version__, "threads": torch.get_num_threads()}


def _known(asked: Mapping[str, Any], count: int, measure: Callable[[], list[float]]) -> list[float]:
    """Seconds that were measured before, on this machine, or are now; without a cache folder always now."""
    path: Path | None = None
    with contextlib.suppress(OSError, InputError):
        path = cache_folder() / "sparse" / f"{short_digest(asked, 32)}.json"
        if path.exists():
            known = read_json(path).get("seconds")
            if isinstance(known, list) and [type(one) for one in known] == [float] * count:
                return known
    seconds = measure()
    with contextlib.suppress(OSError):
        if path is not None:
            write_json(path, {"asked": asked, "seconds": seconds})
    return seconds
