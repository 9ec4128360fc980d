"""Attacks that change values and leave the mask: Gaussian noise and quantization, as IEEE 3304 has them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.tickets import sparse_ticket
from torch import Tensor

from ticket_sig import InputError, Mask, Ticket
from ticket_sig.attacks import Attack, Scene
from ticket_sig.attacks.gaussian_noise import GaussianNoise
from ticket_sig.attacks.quantization import Quantization

ATTACKS = [GaussianNoise(scale=0.2), Quantization(bits=3)]
KINDS = [type(made).__name__ for made in ATTACKS]


def ticket() -> Ticket:
    """Two layers of other sizes of weights in the mask, one that is not, and a bias."""
    own = sparse_ticket()
    return replace(
        own,
        weights={**own.weights, "a.weight": 50 * own.weights["a.weight"]},
        mask=Mask({name: kept for name, kept in own.mask.items() if name != "small.weight"}),
    )


@pytest.mark.parametrize("scale", [0.1, 0.3, 2.0])
def test_noise_is_a_share_of_each_layer_s_own_spread(scale: float) -> None:
    before = ticket()
    after = GaussianNoise(scale=scale)(before, Scene())
    for name in ("a.weight", "b.weight", "small.weight"):
        kept = before.mask.get(name, torch.ones(before.weights[name].shape, dtype=torch.bool))
        noise = (after.weights[name] - before.weights[name])[kept]
        assert float(noise.std() / before.weights[name][kept].std()) == pytest.approx(scale, rel=0.1)
        assert abs(float(noise.mean())) < 5 * float(noise.std()) / len(noise) ** 0.5


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_quantized_weights_have_few_values_from_the_smallest_to_the_largest(bits: int) -> None:
    before = ticket()
    after = Quantization(bits=bits)(before, Scene())
    for name, kept in before.mask.items():
        old, new = before.weights[name][kept], after.weights[name][kept]
        assert len(new.unique()) <= 2**bits
        assert (new.min(), new.max()) == (old.min(), old.max())
        step = float(old.max() - old.min()) / (2**bits - 1)
        assert float((new - old).abs().max()) <= step / 2 * 1.001
    assert len(after.weights["b.weight"][before.mask["b.weight"]].unique()) > 2 ** (bits - 1)


def test_32_bits_round_no_more_than_float32_does() -> None:
    before = ticket()
    after = Quantization(bits=32)(before, Scene())
    for name in before.mask:
        assert torch.allclose(after.weights[name], before.weights[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("made", ATTACKS, ids=KINDS)
def test_mask_and_biases_stay(made: Attack) -> None:
    before = ticket()
    after = made(before, Scene())
    assert after.mask == before.mask  # so pruned weights are zero: a ticket with others is refused
    assert torch.equal(after.weights["b.bias"], before.weights["b.bias"])
    assert not torch.equal(after.weights["small.weight"], before.weights["small.weight"])


@pytest.mark.parametrize("made", ATTACKS, ids=KINDS)
def test_of_one_layer_the_others_stay(made: Attack) -> None:
    before = ticket()
    after = replace(made, layer="b.weight")(before, Scene())
    changed = [n for n in before.weights if not torch.equal(before.weights[n], after.weights[n])]
    assert changed == ["b.weight"]
    with pytest.raises(InputError, match=r"layer: expected one of the model's \(a.weight, b.weight, small"):
        replace(made, layer="b.bias")(before, Scene())


@pytest.mark.parametrize("made", ATTACKS, ids=KINDS)
def test_a_layer_of_one_value_or_none_stays(made: Attack) -> None:
    weights = {"even": torch.full((4, 4), 0.25), "none": torch.zeros(4, 4), "other": torch.eye(4) + 1}
    after = made(Ticket(weights=weights, mask=Mask({"none": weights["none"] != 0})), Scene())
    changed = [name for name, t in weights.items() if not torch.equal(t, after.weights[name])]
    assert changed == (["other"] if isinstance(made, GaussianNoise) else [])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("made", ATTACKS, ids=KINDS)
def test_weights_keep_their_precision(made: Attack, dtype: torch.dtype) -> None:
    weights: dict[str, Tensor] = {"w": torch.randn(40, 40).to(dtype)}
    after = made(Ticket(weights=weights, mask=Mask({})), Scene())
    assert after.weights["w"].dtype == dtype
    assert not torch.equal(after.weights["w"].double(), weights["w"].double())


@pytest.mark.parametrize("made", ATTACKS, ids=KINDS)
def test_tied_weights_stay_tied_under_their_mask(made: Attack) -> None:
    shared = ticket().weights["b.weight"]
    weights = {"head": shared, "embedding": shared}
    after = made(Ticket(weights=weights, mask=Mask({"embedding": shared != 0})), Scene())
    assert after.weights["head"] is after.weights["embedding"]
    assert not torch.equal(after.weights["head"], shared) and not after.weights["head"][shared == 0].any()


def test_noise_that_a_precision_cannot_hold_is_one_line() -> None:
    weights = {"w": 3e4 * torch.randn(40, 40).clamp(-2, 2).half()}
    with pytest.raises(InputError, match="w: expected finite numbers, found"):
        GaussianNoise(scale=5.0)(Ticket(weights=weights, mask=Mask({})), Scene())
