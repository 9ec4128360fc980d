"""Pictures: they are there, large enough to look at, and the frame is where the code is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zxingcpp
from matplotlib.axes import Axes
from PIL import Image
from support.tickets import sparse_ticket

from ticket_sig import InputError, Mask, embed, pictures
from ticket_sig.marks import CodeMark
from ticket_sig.marks.mark import Frame
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.placement import Placement
from ticket_sig.ticket import HistoryEntry

FRAME = (214, 39, 40)


def pixels(path: Path) -> np.ndarray:
    """The picture as [height, width, 3]."""
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.array(picture.convert("RGB")).astype(int)


def framed(shown: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what is drawn in the frame's colour."""
    rows, columns = (np.abs(shown - FRAME).max(-1) < 12).nonzero()
    return rows.min(), rows.max(), columns.min(), columns.max()


def map_with_a_block(shape: tuple[int, int], row: int, column: int, side: int) -> Mask:
    """A mask that keeps one square of kernels: the place of the code."""
    kept = torch.zeros(*shape, dtype=torch.bool)
    kept[row : row + side, column : column + side] = True
    return Mask({"a.weight": kept})


def frame_of(row: int, column: int, version: int, shape: tuple[int, int]) -> Frame:
    return CodeMark("m", version, "L", 0, Placement("a.weight", row, column), shape).frame()


@pytest.mark.parametrize(
    ("shape", "row", "column", "version"),
    [
        ((64, 64), 20, 5, 1),
        ((64, 64), 3, 30, 3),
        ((48, 96), 15, 60, 2),
        ((96, 48), 60, 10, 2),
        ((1200, 900), 300, 650, 40),  # larger than the picture
    ],
)
@pytest.mark.parametrize("draw", ["kernel_maps", "before_and_after"])
def test_the_frame_is_where_the_code_is(
    draw: str, shape: tuple[int, int], row: int, column: int, version: int, tmp_path: Path
) -> None:
    frame = frame_of(row, column, version, shape)
    mask = map_with_a_block(shape, row, column, qr.side(version))
    path = tmp_path / "map.png"
    if draw == "kernel_maps":
        pictures.kernel_maps(path, mask, [frame])
        shown = pixels(path)
    else:
        pictures.before_and_after(path, mask, mask, frame)
        shown = pixels(path)[:, : pixels(path).shape[1] // 3]
    top, bottom, left, right = framed(shown)
    white, black = shown.min(-1) > 200, shown.max(-1) < 60
    middle_row, middle_column = (top + bottom) // 2, (left + right) // 2
    # White up to the frame on its inside, black beyond it, on all four sides.
    assert white[top + 6 : bottom - 5, left + 6 : right - 5].all()
    for outside in (
        black[top - 7, middle_column],
        black[bottom + 7, middle_column],
        black[middle_row, left - 7],
        black[middle_row, right + 7],
    ):
        assert outside
    assert (bottom - top) == pytest.approx(right - left, abs=3)


def test_only_the_signed_layer_has_a_frame(tmp_path: Path) -> None:
    ticket = sparse_ticket()
    frame = embed(ticket, "frame", layer="b.weight").mark.frame()
    pictures.kernel_maps(tmp_path / "plain.png", ticket.mask)
    pictures.kernel_maps(tmp_path / "signed.png", ticket.mask, [frame])
    plain, signed = pixels(tmp_path / "plain.png"), pixels(tmp_path / "signed.png")
    assert plain.shape == signed.shape
    rows, columns = (plain != signed).any(-1).nonzero()
    top, bottom, left, right = framed(signed)
    assert (rows.min(), rows.max()) == pytest.approx((top, bottom), abs=2)
    assert (columns.min(), columns.max()) == pytest.approx((left, right), abs=2)


def test_every_layer_has_room(tmp_path: Path) -> None:
    one = Mask({"a.weight": torch.ones(8, 8, dtype=torch.bool)})
    many = Mask({f"{i}.weight": torch.ones(8, 8, 3, 3, dtype=torch.bool) for i in range(20)})
    pictures.kernel_maps(tmp_path / "one.png", one)
    pictures.kernel_maps(tmp_path / "many.png", many)
    (height, width, _), (high, wide, _) = (pixels(tmp_path / f"{n}.png").shape for n in ("one", "many"))
    assert min(height, width) >= 200
    assert high * wide >= 20 * height * width


def test_layers_without_weights_are_left_out(tmp_path: Path) -> None:
    layer = {"a.weight": torch.ones(8, 8, dtype=torch.bool)}
    empty = {
        f"{i}.weight": torch.ones(shape, dtype=torch.bool) for i, shape in enumerate([(0, 3), (3, 0, 3, 3)])
    }
    pictures.kernel_maps(tmp_path / "one.png", Mask(layer))
    pictures.kernel_maps(tmp_path / "same.png", Mask(layer | empty))
    assert (pixels(tmp_path / "one.png") == pixels(tmp_path / "same.png")).all()
    with pytest.raises(InputError, match="kernel maps: expected at least one layer, found none"):
        pictures.kernel_maps(tmp_path / "none.png", Mask(empty))


def test_before_and_after_shows_both_and_what_changed(tmp_path: Path) -> None:
    ticket = sparse_ticket()
    embedded = embed(ticket, "before and after")
    path = tmp_path / "three.png"
    pictures.before_and_after(path, ticket.mask, embedded.ticket.mask, embedded.mark.frame())
    shown = pixels(path)
    third = shown.shape[1] // 3
    for part in range(3):
        top, bottom, left, right = framed(shown[:, part * third : (part + 1) * third])
        assert bottom - top > 100 and right - left > 100
    pictures.before_and_after(path, ticket.mask, ticket.mask, embedded.mark.frame())
    same = pixels(path)
    top, bottom, left, right = framed(same[:, 2 * third :])
    assert (same[top + 4 : bottom - 3, 2 * third + left + 4 : 2 * third + right - 3] == 255).all()


def test_a_code_as_it_was_read_is_a_code_and_what_is_wrong_is_red(tmp_path: Path) -> None:
    code = qr.encode("as it was read", 3, "H")[2]
    wrong = np.zeros_like(code.light)
    pictures.codes(tmp_path / "right.png", [(code.light, wrong, "all right")])
    right = pixels(tmp_path / "right.png")
    assert (right.max(-1) - right.min(-1) < 12).all()
    with Image.open(tmp_path / "right.png") as picture:
        (found,) = zxingcpp.read_barcodes(picture, formats=zxingcpp.BarcodeFormat.QRCode)
    assert found.text == "as it was read"
    # One module that is dark and should be light, and one the other way round.
    rows, columns = (code.data & code.light).nonzero()
    light = code.light.copy()
    light[rows[0], columns[0]] = False
    wrong[rows[0], columns[0]] = True
    rows, columns = (code.data & ~code.light).nonzero()
    light[rows[-1], columns[-1]] = wrong[rows[-1], columns[-1]] = True
    pictures.codes(tmp_path / "wrong.png", [(light, wrong, "two wrong")])
    shown = pixels(tmp_path / "wrong.png")
    red = shown[..., 0] - shown[..., 1] > 80
    changed = (shown != right).any(-1)
    area = red.sum() / red.size
    assert 0 < area < 3 / 37**2
    assert (changed & red).sum() > 0.8 * red.sum()


def history() -> list[HistoryEntry]:
    return [
        HistoryEntry(step="dense", kept=100, total=100, validation=97.0, test=96.0),
        HistoryEntry(step="prune", kept=80, total=100, validation=96.5, test=96.5, accepted=True),
        HistoryEntry(step="prune", kept=64, total=100, validation=90.0, test=91.0, accepted=False),
        HistoryEntry(step="sign", kept=80, total=100),
        HistoryEntry(step="train", kept=80, total=100, test=96.0),
    ]


@pytest.mark.parametrize("length", range(1, 6))
def test_accuracy_over_any_number_of_rounds(length: int, tmp_path: Path) -> None:
    pictures.accuracy_over_rounds(tmp_path / "accuracy.png", history()[:length])
    shown = pixels(tmp_path / "accuracy.png")
    assert min(shown.shape[:2]) >= 400


def test_the_curves_pass_by_a_round_that_was_dropped(tmp_path: Path) -> None:
    dense, kept = (HistoryEntry(step="prune", kept=k, total=100, test=90.0, accepted=True) for k in (100, 50))
    dropped = HistoryEntry(step="prune", kept=5, total=100, test=10.0, accepted=False)
    drawn = []
    for accepted in (False, True):
        pictures.accuracy_over_rounds(
            tmp_path / "accuracy.png", [dense, kept, replace(dropped, accepted=accepted)]
        )
        shown = pixels(tmp_path / "accuracy.png")
        drawn.append(int((np.ptp(shown[..., :3].astype(int), axis=2) > 60).sum()))  # not grey
    assert drawn[0] < drawn[1] / 2, "a line to the dropped round is long"


def test_labels_of_near_rounds_do_not_cover_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled: list[list[float]] = []
    monkeypatch.setattr(Axes, "set_xticks", lambda self, ticks, *rest, **more: labelled.append(ticks))
    near = [
        HistoryEntry(step="prune", kept=k, total=1000, test=90.0, accepted=True)
        for k in (1000, 200, 150, 149)
    ]
    pictures.accuracy_over_rounds(tmp_path / "accuracy.png", near)
    assert labelled == [[14.9, 20.0, 100.0]]


def test_a_retrained_ticket_is_marked(tmp_path: Path) -> None:
    red = []
    for length in (3, 5):
        pictures.accuracy_over_rounds(tmp_path / "accuracy.png", history()[:length])
        shown = pixels(tmp_path / "accuracy.png")
        red.append(int(((shown[..., 0] > 240) & (shown[..., 1] < 40) & (shown[..., 2] < 40)).sum()))
    assert red[0] == 0 < red[1]


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: pictures.kernel_maps(path, sparse_ticket().mask),
        lambda path: pictures.accuracy_over_rounds(path, history()),
    ],
)
def test_without_matplotlib_it_says_what_to_install(
    draw: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        InputError, match=r"pictures: expected the package matplotlib, .*ticket-sig\[figures\]"
    ):
        draw(tmp_path / "none.png")
    assert not list(tmp_path.iterdir())


def test_a_picture_goes_where_it_was_asked_to_go(tmp_path: Path) -> None:
    pictures.kernel_maps(tmp_path / "new" / "folder" / "map.png", sparse_ticket().mask)
    assert [p.name for p in (tmp_path / "new" / "folder").iterdir()] == ["map.png"]
