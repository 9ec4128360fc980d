"""People save pruned models with sparse tensors, to have a small file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import done, run
from support.signed import assert_verified, signed_weights
from torch import Tensor, nn

from ticket_sig import InputError, load
from ticket_sig.formats.dense import MOST_DENSE, dense_tensors
from ticket_sig.formats.layouts import split_layout

pytestmark = pytest.mark.filterwarnings("ignore:Sparse")

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "coo": lambda t: t.to_sparse(),
    "hybrid coo": lambda t: t.to_sparse(1),
    "csr": lambda t: t.to_sparse_csr(),
    "csc": lambda t: t.to_sparse_csc(),
    "bsr": lambda t: t.to_sparse_bsr((2, 3)),
    "bsc": lambda t: t.to_sparse_bsc((4, 2)),
}


class _Rebuilt:
    """A sparse tensor as a hostile file can state it: of any parts."""

    def __init__(self, layout: torch.layout, *parts: Any) -> None:
        self.made = torch._utils._rebuild_sparse_tensor, (layout, parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.made


def coo(indices: list[list[int]], *size: int, values: Tensor | None = None) -> _Rebuilt:
    held = torch.ones(len(indices[0])) if values is None else values
    return _Rebuilt(torch.sparse_coo, torch.tensor(indices), held, torch.Size(size))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("layout", ["coo", "hybrid coo"])
def test_a_code_in_sparse_tensors_is_verified(layout: str, zipped: bool, tmp_path: Path) -> None:
    state = {n: LAYOUTS[layout](t) if t.ndim > 1 else t for n, t in signed_weights().items()}
    torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    assert_verified(tmp_path / "x.pt")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_every_layout_is_read_as_the_dense_tensor_it_was(
    layout: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    dense = signed_weights()["b.weight"].to(dtype)
    torch.save({"fc.weight": LAYOUTS[layout](dense), "fc.bias": torch.ones(64)}, tmp_path / "x.pt")
    ticket = load(tmp_path / "x.pt").ticket
    assert torch.equal(ticket.weights["fc.weight"], dense) and list(ticket.mask) == ["fc.weight"]
    if dtype == torch.float32:
        done(["embed", tmp_path / "x.pt", "--message", "x", "--out", tmp_path / "signed"])


def test_a_module_with_sparse_weights_is_read_in_memory() -> None:
    module = nn.Linear(4, 4)
    dense = torch.eye(4)
    module.weight = nn.Parameter(dense.to_sparse(), requires_grad=False)
    weights, mask, _ = split_layout(module.state_dict(), "model")
    assert torch.equal(weights["weight"], dense) and mask.kept == 4


def test_tied_sparse_tensors_stay_tied(tmp_path: Path) -> None:
    one = torch.eye(4).to_sparse()
    torch.save({"in.weight": one, "out.weight": one}, tmp_path / "x.pt")
    read = load(tmp_path / "x.pt").ticket.weights
    assert read["in.weight"] is read["out.weight"]


def test_entries_that_are_there_twice_are_summed_as_torch_does(tmp_path: Path) -> None:
    torch.save({"fc.weight": coo([[0, 0, 1], [1, 1, 0]], 2, 2)}, tmp_path / "x.pt")
    assert load(tmp_path / "x.pt").ticket.weights["fc.weight"].tolist() == [[0, 2], [1, 0]]


HOSTILE = {
    "an index beyond": coo([[0, 9], [0, 1]], 4, 4),
    "a negative index": coo([[0, -1], [0, 1]], 4, 4),
    "more indices than values": coo([[0, 1], [0, 1]], 4, 4, values=torch.ones(1)),
    "one dimension for two": coo([[0, 1]], 4, 4),
    "a size of 122 bits": coo([[0], [0]], 2**61, 2**61),
    "values that are shown": coo([[0, 1], [0, 1]], 4, 4, values=torch.ones(1).expand(2)),
    "rows beyond": _Rebuilt(
        torch.sparse_csr, torch.tensor([0, 1, 5]), torch.tensor([0, 1]), torch.ones(2), (2, 4)
    ),
    "columns beyond": _Rebuilt(
        torch.sparse_csr, torch.tensor([0, 1, 2]), torch.tensor([0, 10**12]), torch.ones(2), (2, 4)
    ),
    "blocks that do not fit": _Rebuilt(
        torch.sparse_bsr, torch.tensor([0, 1, 2]), torch.tensor([0, 1]), torch.ones(2, 2, 2), (3, 4)
    ),
    "no indices": _Rebuilt(torch.sparse_coo, "indices", torch.ones(1), (2, 2)),
    "no layout": _Rebuilt(torch.strided, torch.tensor([[0]]), torch.ones(1), (2,)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_sparse_tensors_are_named_or_passed_over_and_never_read(name: str, tmp_path: Path) -> None:
    torch.save({"a.weight": torch.ones(2, 2), "fc.weight": HOSTILE[name]}, tmp_path / "x.pt")
    with pytest.raises(
        InputError, match=r"x\.pt: fc\.weight: expected a dense tensor in memory, found a dama"
    ):
        load(tmp_path / "x.pt")
    torch.save({"state_dict": signed_weights(), "beside": HOSTILE[name]}, tmp_path / "x.pt")
    assert_verified(tmp_path / "x.pt")


def test_the_bound_is_on_all_of_them_together(tmp_path: Path) -> None:
    rows = MOST_DENSE // 4 // 2**16
    below = dict.fromkeys("abcd", torch.zeros(1, 1))
    state = {n: coo([[0], [0]], rows // 4 + 1, 2**16) for n in below}
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(
        InputError, match=r"x\.pt: sparse tensors: expected at most 1 GiB once they are dense"
    ):
        load(tmp_path / "x.pt")
    assert dense_tensors({"a": torch.eye(3).to_sparse()}, "model")["a"].sum() == 3


def test_a_sparse_rewind_is_read(tmp_path: Path) -> None:
    state = {"fc.weight": torch.eye(4).to_sparse(), "fc.bias": torch.ones(4)}
    rewind = {"fc.weight": torch.ones(4, 4).to_sparse(), "fc.bias": torch.ones(4)}
    torch.save({"state_dict": state, "init_weight": rewind}, tmp_path / "x.pt")
    assert load(tmp_path / "x.pt").ticket.rewound()["fc.weight"].tolist() == torch.eye(4).tolist()
    assert run(["inspect", tmp_path / "x.pt"]).code == 0
