"""A bundle gives back what was saved, notices whatever changed in it, and is written whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.damage import damages, flip
from support.disk import content, file_size_limit, full_disk
from support.tickets import sparse, sparse_ticket
from torch import Tensor

from ticket_sig import InputError, Mask, Ticket, load, save
from ticket_sig.digests import tensor_digest
from ticket_sig.ticket import HistoryEntry

few = settings(deadline=None, max_examples=20)
TENSOR_FILES = ["model.safetensors", "mask.safetensors", "rewind.safetensors"]
FILES = [*TENSOR_FILES, "ticket.json"]


def small_ticket(seed: int = 0, dtype: torch.dtype = torch.float32) -> Ticket:
    """A ticket with all that a bundle can hold."""
    weights = {
        "a.weight": sparse(4, 3, 2, 2, seed=seed).to(dtype),
        "b.weight": torch.ones(2, 4, dtype=dtype),
        "b.steps": torch.tensor(3),
    }
    history = (
        HistoryEntry(step="dense", kept=48, total=48, validation=90.5, test=90.25, epochs=3, seconds=1.5),
        HistoryEntry(
            step="prune", kept=15, total=48, rate=0.7, winning=False, accepted=True, made_with={"a": "1"}
        ),
    )
    return Ticket(
        weights=weights,
        mask=Mask({"a.weight": weights["a.weight"] != 0}),
        rewind={name: torch.full_like(t, 2) for name, t in weights.items()},
        recipe={"arch": "resnet20", "seed": 5, "nested": {"text": "Ä \n"}},
        history=history,
    )


def assert_same(found: Ticket, expected: Ticket) -> None:
    """The same ticket, bit by bit."""
    for one, other in ((found.weights, expected.weights), (found.rewind or {}, expected.rewind or {})):
        assert one.keys() == other.keys()
        for name, tensor in other.items():
            assert one[name].dtype == tensor.dtype
            assert torch.equal(one[name], tensor)
    assert found.mask == expected.mask
    assert (found.rewind is None) == (expected.rewind is None)
    assert found.recipe == expected.recipe
    assert found.history == expected.history


def craft(
    folder: Path,
    model: Mapping[str, Tensor],
    mask: Mapping[str, Tensor],
    rewind: Mapping[str, Tensor] | None = None,
) -> Path:
    """A bundle of any tensors, with the right digests: what somebody else's script could write."""
    tensors = {"model.safetensors": model, "mask.safetensors": mask}
    if rewind is not None:
        tensors["rewind.safetensors"] = rewind
    folder.mkdir()
    for name, values in tensors.items():
        safetensors.torch.save_file(dict(values), folder / name)
    digests = {name: tensor_digest(values) for name, values in tensors.items()}
    head = {"format": "ticket_sig ticket", "version": 1, "history": [], "digests": digests}
    (folder / "ticket.json").write_text(json.dumps(head))
    return folder


def rewrite(bundle: Path, **changes: Any) -> None:
    """Changes fields of ticket.json."""
    head = json.loads((bundle / "ticket.json").read_text())
    (bundle / "ticket.json").write_text(json.dumps(head | changes))


@few
@given(
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
    bare=st.booleans(),
    signed=st.booleans(),
)
def test_what_was_saved_is_loaded(seed: int, dtype: torch.dtype, bare: bool, signed: bool) -> None:
    ticket = small_ticket(seed, dtype)
    if bare:
        ticket = Ticket(weights=ticket.weights, mask=ticket.mask)
    claim = {"format": "ticket_sig claim", "text": "é"} if signed else None
    with TemporaryDirectory() as folder:
        path = save(ticket, Path(folder) / "new" / "bundle", claim=claim)
        loaded = load(path)
        assert loaded.kind == "bundle"
        assert_same(loaded.ticket, ticket)
        assert (path / "rewind.safetensors").exists() != bare
        assert (loaded.claim is not None) == signed
        if loaded.claim:
            assert json.loads(loaded.claim.read_text(encoding="utf-8")) == claim


def test_the_same_ticket_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(small_ticket(), tmp_path / name)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert content(tmp_path / "a").keys() == set(FILES)


def test_others_can_read_what_a_bundle_says(tmp_path: Path) -> None:
    ticket = small_ticket()
    save(ticket, str(tmp_path / "bundle"))
    head = json.loads((tmp_path / "bundle" / "ticket.json").read_text(encoding="utf-8"))
    assert (head["version"], head["seed"], head["kept"], head["total"]) == (1, 5, ticket.mask.kept, 48)
    assert head["density"] == pytest.approx(ticket.mask.density, abs=1e-6)
    assert head["pruning_rates"] == {"0.7": 1}
    assert head["history"][0]["density"] == 1
    model = safetensors.torch.load_file(tmp_path / "bundle" / "model.safetensors")
    assert not model["a.weight"][~ticket.mask["a.weight"]].any()


def test_a_folder_with_a_model_alone_is_read_as_that_model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    ticket = small_ticket()
    safetensors.torch.save_file(dict(ticket.weights), tmp_path / "model" / "model.safetensors")
    loaded = load(tmp_path / "model")
    assert loaded.kind == "safetensors"
    assert loaded.ticket.mask == ticket.mask
    assert loaded.claim is None


@pytest.mark.parametrize("name", TENSOR_FILES)
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    bundle = save(small_ticket(), tmp_path / "bundle")
    (bundle / name).unlink()
    with pytest.raises(InputError, match=f"{name}: file: expected a safetensors file, found none"):
        load(bundle)


@pytest.mark.parametrize("name", TENSOR_FILES)
def test_whatever_changed_in_a_tensor_file_is_noticed(name: str, tmp_path: Path) -> None:
    ticket = small_ticket()
    bundle = save(ticket, tmp_path / "bundle")
    whole = (bundle / name).read_bytes()
    for what, damaged in damages(whole, seed=1, flips=200, cuts=40):
        (bundle / name).write_bytes(damaged)
        try:
            # A flipped bit may leave the tensors alone (white space of the header): then they are the same.
            assert_same(load(bundle).ticket, ticket)
        except InputError as error:
            assert str(bundle) in str(error), what
            assert "\n" not in str(error), what
        except AssertionError:
            pytest.fail(f"{what}: read as another ticket")
        except Exception as error:
            pytest.fail(f"{what}: {type(error).__name__}: {error}")
    start = 8 + int.from_bytes(whole[:8], "little")
    for byte in range(start, len(whole)):
        (bundle / name).write_bytes(flip(whole, 8 * byte + byte % 8))
        with pytest.raises(InputError, match=name):
            load(bundle)


def test_files_of_another_bundle_are_noticed(tmp_path: Path) -> None:
    one, other = save(small_ticket(1), tmp_path / "one"), save(small_ticket(2), tmp_path / "other")
    shutil.copy(other / "model.safetensors", one / "model.safetensors")
    with pytest.raises(
        InputError, match=r"model\.safetensors: digest: expected sha256:.*, found sha256:.*changed"
    ):
        load(one)


def test_a_damaged_ticket_json_is_refused_or_read(tmp_path: Path) -> None:
    bundle = save(small_ticket(), tmp_path / "bundle")
    for what, damaged in damages((bundle / "ticket.json").read_bytes(), seed=2, flips=300):
        (bundle / "ticket.json").write_bytes(damaged)
        try:
            load(bundle)
        except InputError as error:
            assert str(bundle) in str(error), what
            assert "\n" not in str(error), what
        except Exception as error:
            pytest.fail(f"{what}: {type(error).__name__}: {error}")


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5])
def test_another_version_is_refused(version: object, tmp_path: Path) -> None:
    bundle = save(small_ticket(), tmp_path / "bundle")
    rewrite(bundle, version=version)
    expected = (
        rf"ticket\.json: version: expected 1, found {version!r}, written by ticket_sig .*; use the ticket_sig"
    )
    with pytest.raises(InputError, match=expected):
        load(bundle)


JUNK: list[Any] = [None, 1, -1, 10**400, "x", "", [], {}, [1], {"a": 1}, True, 1.5, float("nan")]


@pytest.mark.parametrize("name", ["digests", "history", "recipe", "version"])
def test_fields_of_another_type_are_refused_or_do_no_harm(name: str, tmp_path: Path) -> None:
    bundle = save(small_ticket(), tmp_path / "bundle")
    for value in JUNK:
        rewrite(bundle, **{name: value})
        _refused_or_saved_again(bundle, f"{name} = {value!r}")


@pytest.mark.parametrize("name", ["step", "kept", "total", "rate", "winning", "test", "seconds", "made_with"])
def test_a_history_of_other_types_is_refused_or_does_no_harm(name: str, tmp_path: Path) -> None:
    bundle = save(small_ticket(), tmp_path / "bundle")
    for value in JUNK:
        rewrite(bundle, history=[{"step": "prune", "kept": 1, "total": 2, "accepted": True, name: value}])
        _refused_or_saved_again(bundle, f"{name} = {value!r}")


def _refused_or_saved_again(bundle: Path, what: str) -> None:
    try:
        ticket = load(bundle).ticket
    except InputError as error:
        assert str(bundle) in str(error), what
        return
    except Exception as error:
        pytest.fail(f"{what}: {type(error).__name__}: {error}")
    try:
        save(ticket, bundle.with_name("again"), replace=True)
    except Exception as error:
        pytest.fail(f"{what}: loaded, but cannot be saved: {type(error).__name__}: {error}")


@pytest.mark.parametrize("missing", ["step", "kept", "total"])
def test_a_history_entry_without_a_field_is_refused(missing: str, tmp_path: Path) -> None:
    bundle = save(small_ticket(), tmp_path / "bundle")
    entry = {"step": "dense", "kept": 1, "total": 2}
    del entry[missing]
    rewrite(bundle, history=[entry])
    with pytest.raises(InputError, match=f"bundle.*history.*{missing}"):
        load(bundle)


def test_fields_of_later_versions_are_passed_over(tmp_path: Path) -> None:
    bundle = save(small_ticket(), tmp_path / "bundle")
    rewrite(bundle, later=1, history=[{"step": "dense", "kept": 1, "total": 2, "later": [1]}])
    assert load(bundle).ticket.history == (HistoryEntry(step="dense", kept=1, total=2),)


def test_masks_that_fit_no_tensor_are_all_listed(tmp_path: Path) -> None:
    model = {"a.weight": torch.zeros(3, 4), "b.weight": torch.ones(2, 2)}
    mask = {f"{name}.weight": torch.ones(2, 2, dtype=torch.bool) for name in ("a", "b", "gone")}
    bundle = craft(tmp_path / "bundle", model, mask)
    with pytest.raises(InputError) as error:
        load(bundle)
    assert str(bundle) in str(error.value)
    assert "a.weight: expected shape [2, 2], found [3, 4]" in str(error.value)
    assert "gone.weight: expected, not found" in str(error.value)


def test_masks_that_are_not_boolean_are_all_listed(tmp_path: Path) -> None:
    model = {"a.weight": torch.ones(3, 4), "b.weight": torch.ones(2, 2), "c": torch.ones(2)}
    mask = {name: torch.ones(t.shape) for name, t in model.items()} | {"c": torch.ones(2, dtype=torch.bool)}
    bundle = craft(tmp_path / "bundle", model, mask)
    with pytest.raises(InputError) as error:
        load(bundle)
    for found in (
        "a.weight: expected a boolean",
        "float32 [3, 4]",
        "b.weight: expected",
        "c: expected",
        "bool [2]",
    ):
        assert found in str(error.value)


def test_a_weight_that_is_not_zero_where_pruned_is_named_with_the_count(tmp_path: Path) -> None:
    model = {"a.weight": torch.ones(3, 4), "b.weight": torch.ones(2, 2)}
    mask = {name: torch.zeros(t.shape, dtype=torch.bool) for name, t in model.items()}
    mask["b.weight"][0] = True
    with pytest.raises(InputError) as error:
        load(craft(tmp_path / "bundle", model, mask))
    assert "a.weight: expected zeros where pruned, found 12" in str(error.value)
    assert "b.weight: expected zeros where pruned, found 2" in str(error.value)


def test_rewind_weights_of_another_network_are_all_listed(tmp_path: Path) -> None:
    model = {"a.weight": torch.ones(3, 4), "b.weight": torch.ones(2, 2), "c.bias": torch.ones(2)}
    mask = {"a.weight": torch.ones(3, 4, dtype=torch.bool)}
    rewind = {"a.weight": torch.ones(4, 3), "c.bias": torch.ones(2), "d.bias": torch.ones(1)}
    with pytest.raises(InputError) as error:
        load(craft(tmp_path / "bundle", model, mask, rewind))
    message = str(error.value)
    assert "rewind" in message
    assert "a.weight: expected shape [3, 4], found [4, 3]" in message
    assert "b.weight: expected, not found" in message
    assert "d.bias: found, not expected" in message
    assert "c.bias" not in message


@pytest.mark.parametrize("name", ["model", "rewind"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named_with_the_count(
    name: str, value: float, tmp_path: Path
) -> None:
    parts = {
        part: {"a.weight": torch.ones(3, 4), "b.weight": torch.ones(2, 2)} for part in ("model", "rewind")
    }
    parts[name]["a.weight"][1, :2] = value
    mask = {"a.weight": torch.ones(3, 4, dtype=torch.bool)}
    with pytest.raises(InputError, match=f"{name}.*a.weight: expected finite numbers, found 2 that are not"):
        load(craft(tmp_path / "model_bundle", parts["model"], mask, parts["rewind"]))


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"folder: expected a bundle .*, found neither"):
        load(tmp_path)


def test_a_ticket_that_breaks_promise_1_is_not_saved(tmp_path: Path) -> None:
    ticket = small_ticket()
    ticket.weights["a.weight"].fill_(1)
    with pytest.raises(InputError, match=r"a\.weight: expected zeros where pruned, found \d+"):
        save(ticket, tmp_path / "bundle")
    assert content(tmp_path) == {}


@pytest.mark.parametrize("there", ["bundle", "file", "empty folder"])
def test_what_is_there_is_left_alone(there: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    if there == "bundle":
        save(small_ticket(1), path)
    elif there == "file":
        path.write_text("mine")
    else:
        path.mkdir()
    before = content(tmp_path)
    with pytest.raises(InputError, match=f"{path}: output folder: expected a name not taken yet"):
        save(small_ticket(2), path)
    assert content(tmp_path) == before


def test_replace_leaves_nothing_of_the_old_bundle(tmp_path: Path) -> None:
    save(small_ticket(1), tmp_path / "out", claim={"old": 1})
    (tmp_path / "out" / "notes.txt").write_text("old")
    save(Ticket(weights=small_ticket(2).weights, mask=small_ticket(2).mask), tmp_path / "out", replace=True)
    assert content(tmp_path / "out").keys() == {"model.safetensors", "mask.safetensors", "ticket.json"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("room", [0, 100, 20_000, 60_000])
@pytest.mark.parametrize("replace", [True, False])
def test_a_disk_that_fills_up_leaves_what_was_there(room: int, replace: bool, tmp_path: Path) -> None:
    if replace:
        save(small_ticket(), tmp_path / "out")
    before = content(tmp_path)
    with file_size_limit(room), pytest.raises(OSError, match="File too large"):
        save(sparse_ticket(rewind=True), tmp_path / "out", replace=replace)
    assert content(tmp_path) == before


@pytest.mark.parametrize("replace", [True, False])
def test_a_disk_that_is_found_full_when_flushed_leaves_what_was_there(replace: bool, tmp_path: Path) -> None:
    if replace:
        save(small_ticket(), tmp_path / "out")
    before = content(tmp_path)
    with full_disk(), pytest.raises(OSError, match="No space left"):
        save(sparse_ticket(), tmp_path / "out", replace=replace)
    assert content(tmp_path) == before
