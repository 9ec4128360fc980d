"""Which tensors of a suspect belong together, whatever they are called."""

from __future__ import annotations

import torch

from ticket_sig.recovery.parts import parts_of


def norm(width: int) -> dict[str, torch.Tensor]:
    rows = {"weight": torch.ones(width), "bias": torch.zeros(width)}
    return {**rows, "running_mean": torch.zeros(width), "running_var": torch.ones(width)}


def test_tensors_of_one_module_are_one_part() -> None:
    layer = {"weight": torch.ones(4, 3, 3, 3), "bias": torch.zeros(4)}
    tensors = {f"a.{role}": t for role, t in layer.items()} | {f"b.{role}": t for role, t in norm(4).items()}
    tensors["b.num_batches_tracked"] = torch.tensor(7)
    layers, norms = parts_of(dict(reversed(tensors.items())))
    assert [(p.name, set(p.tensors)) for p in layers] == [("a", {"weight", "bias"})]
    assert [(p.name, p.width, len(p.tensors)) for p in norms] == [("b", 4, 4)]


def test_names_of_other_frameworks_are_known() -> None:
    kinds = {"kernel": torch.ones(4, 3), "gamma": torch.ones(4), "beta": torch.zeros(4)}
    kinds |= {"moving_mean": torch.zeros(4), "moving_variance": torch.ones(4)}
    tensors = {f"{'fc' if name == 'kernel' else 'bn'}/x.{name}": t for name, t in kinds.items()}
    layers, norms = parts_of(tensors)
    assert layers[0].tensors == {"weight": "fc/x.kernel"}
    assert norms[0].tensors["running_var"] == "bn/x.moving_variance"


def test_names_that_tell_nothing_are_read_in_order() -> None:
    values = [torch.ones(4, 3, 3, 3), *norm(4).values(), torch.ones(5, 4), torch.zeros(5)]
    layers, norms = parts_of({f"t{n}": t for n, t in enumerate(values)})
    assert [dict(p.tensors) for p in layers] == [{"weight": "t0"}, {"weight": "t5", "bias": "t6"}]
    assert norms[0].tensors == {"weight": "t1", "bias": "t2", "running_mean": "t3", "running_var": "t4"}


def test_a_vector_is_no_bias_of_a_layer_that_it_does_not_fit() -> None:
    weight, vector = torch.ones(4, 3), torch.zeros(5)
    for names in (("a.weight", "a.bias"), ("t0", "t1")):
        layers, norms = parts_of(dict(zip(names, (weight, vector), strict=True)))
        assert [dict(p.tensors) for p in layers] == [{"weight": names[0]}] and not norms


def test_numbers_in_names_are_counted_where_they_are_sorted_as_texts() -> None:
    values = [torch.ones(4, 3), torch.zeros(4)] * 6
    names = sorted(f"t{n}" for n in range(len(values)))
    layers, _ = parts_of({name: values[int(name[1:])] for name in names})
    assert [dict(p.tensors) for p in layers] == [
        {"weight": f"t{n}", "bias": f"t{n + 1}"} for n in range(0, 12, 2)
    ]
