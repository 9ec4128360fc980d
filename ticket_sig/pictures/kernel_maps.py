"""Pictures: kernel maps with the code's frame, codes, and accuracy over the rounds.

All of them need matplotlib; an InputError says so where it is not installed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig.errors import bad_input, needs_extra
from ticket_sig.files import whole_file
from ticket_sig.marks.mark import Frame
from ticket_sig.mask import Mask
from ticket_sig.ticket import HistoryEntry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LARGEST = 512  # pixels along a side; larger maps are averaged down
_MOST_LAYERS = 64
_FRAME = "#d62728"
_WRONG_LIGHT, _WRONG_DARK = (255, 160, 160), (160, 0, 0)


def kernel_maps(path: Path, mask: Mask, frames: Sequence[Frame] = ()) -> None:
    """Draws the kernel map of every layer (white = kept); a layer that carries a mark gets its frame.

    Of more than 64 layers the largest are drawn, of empty ones none; InputError where there is no layer.
    """
    rows = [row for row in mask.table() if row.total]
    largest = sorted(rows, key=lambda row: -row.kernels)[:_MOST_LAYERS]
    rows = [row for row in rows if row in largest]
    if not rows:
        raise bad_input("", "kernel maps", "at least one layer", "none")
    columns = min(6, math.ceil(math.sqrt(len(rows))))
    with _figure(path, math.ceil(len(rows) / columns), columns, 2.4) as axes:
        for axis, row in zip(axes, rows, strict=False):
            title = f"{row.name.removesuffix('.weight')}\n{100 * row.density:.1f} % kept"
            framed = [frame for frame in frames if frame.layer == row.name]
            _map(axis, mask.kernel_map(row.name), title, framed)


def before_and_after(path: Path, before: Mask, after: Mask, frame: Frame) -> None:
    """Draws the signed layer's kernel map before and after, with the frame of the mark, and what changed."""
    layer = frame.layer
    maps = before.kernel_map(layer), after.kernel_map(layer)
    with _figure(path, 1, 3, 4.2) as axes:
        _map(axes[0], maps[0], f"{layer}: before", [frame])
        _map(axes[1], maps[1], "after (white = kept kernel)", [frame])
        changed = f"changed kernels (black): {int((maps[0] != maps[1]).sum())}"
        _map(axes[2], maps[0] == maps[1], changed, [frame])


def codes(
    path: Path, panels: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_], str]], title: str = ""
) -> None:
    """Draws codes as they were read, four in a row, with the data modules that differ from the claim in red.

    Args:
        panels: of each code its light modules, those that are wrong (boolean [side, side]) and a title.
        title: of the figure, which then has a key to the two reds as well.
    """
    columns = min(4, len(panels))
    with _figure(path, math.ceil(len(panels) / columns), columns, 4.2 if columns == 1 else 2.8) as axes:
        for axis, (light, wrong, words) in zip(axes, panels, strict=False):
            colours = np.where(light[..., None], 255, 0).repeat(3, -1).astype(np.uint8)
            colours[wrong & light] = _WRONG_LIGHT
            colours[wrong & ~light] = _WRONG_DARK
            framed = np.pad(colours, ((4, 4), (4, 4), (0, 0)), constant_values=255)
            axis.imshow(framed, interpolation="nearest")
            axis.set_title(words, fontsize=9)
            axis.axis("off")
        if title and (figure := axes[0].get_figure(root=True)):
            _titled(figure, title)


def accuracy_over_rounds(path: Path, history: Sequence[HistoryEntry]) -> None:
    """Draws test and validation accuracy against the density of each round."""
    tested = [(entry, 100 * entry.density, entry.test) for entry in history if entry.test is not None]
    rounds = [(entry, x, y) for entry, x, y in tested if entry.step in ("dense", "prune")]
    # The search goes back from a round that it drops: the curves pass it by.
    kept = [(entry, x, y) for entry, x, y in rounds if entry.accepted is not False]
    curves = {
        ("validation", "s--"): [(x, e.validation) for e, x, _ in kept if e.validation is not None],
        ("test", "o-"): [(x, y) for _, x, y in kept],
        ("test, dropped", "kx"): [(x, y) for e, x, y in rounds if e.accepted is False],
        ("test, signed and retrained", "r*"): [(x, y) for e, x, y in tested if e.step == "train"],
    }
    with _figure(path, 1, 1, 5.0) as axes:
        axis = axes[0]
        for (name, style), points in curves.items():
            if points:
                x, y = zip(*points, strict=True)
                axis.plot(x, y, style, label=name, ms=10 if "*" in style else 4)
        axis.set(
            xscale="log", xlabel="weights kept (%)", ylabel="accuracy (%)", title="Accuracy over the rounds"
        )
        ticks = _apart({round(x, 1) for _, x, _ in kept})
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks], rotation=60, fontsize=7)
        axis.minorticks_off()
        axis.invert_xaxis()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)


def _apart(densities: Collection[float]) -> list[float]:
    """The densities from the lowest on, without those whose labels would cover the one before."""
    ticks = list[float]()
    nearest = (max(densities) / min(densities)) ** 0.04 if densities else 1.0
    for density in sorted(densities):
        if not ticks or density >= ticks[-1] * nearest:
            ticks.append(density)
    return ticks


def _titled(figure: Figure, title: str) -> None:
    from matplotlib.patches import Patch

    reds = {
        "dark module that is claimed light": _WRONG_DARK,
        "light module that is claimed dark": _WRONG_LIGHT,
    }
    keys = [Patch(color="#{:02x}{:02x}{:02x}".format(*red), label=words) for words, red in reds.items()]
    figure.suptitle(title)
    figure.legend(handles=keys, fontsize=9, ncols=2, loc="outside lower center")


@contextmanager
def _figure(path: Path, rows: int, columns: int, size: float) -> Iterator[list[Axes]]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise needs_extra("matplotlib", "figures", "pictures") from None
    figure = Figure(figsize=(size * columns, size * rows * 1.1), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    yield axes
    for axis in axes:
        axis.set_visible(bool(axis.has_data()))
    with whole_file(path) as partial:
        figure.savefig(partial, format="png")


def _map(axis: Axes, kernels: Tensor, title: str, frames: Sequence[Frame]) -> None:
    height, width = kernels.shape
    size = min(height, _LARGEST), min(width, _LARGEST)
    shown, extent = F.adaptive_avg_pool2d(kernels[None].float(), size)[0], (0, width, height, 0)
    axis.imshow(shown.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest", extent=extent)
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("in channel", fontsize=7)
    axis.set_ylabel("out channel", fontsize=7)
    axis.tick_params(labelsize=6)
    for frame in frames:
        from matplotlib.patches import Rectangle

        corner = frame.column, frame.row
        square = Rectangle(corner, frame.side, frame.side, fill=False, edgecolor=_FRAME, linewidth=1.5)
        axis.add_patch(square)
