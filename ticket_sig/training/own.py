"""A network of the user's own, made ready for the training loop: once, on a copy, before the first step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ticket_sig.datasets import Dataset
from ticket_sig.errors import InputError, bad_input, refuse
from ticket_sig.mask import described
from ticket_sig.models.own import in_short, logits_of, plain_copy
from ticket_sig.training.batches import Normaliser


def trainable(model: nn.Module, data: Dataset, device: torch.device, seed: int) -> nn.Module:
    """A plain copy in float32 on a device that answers with logits [n, classes]; the model is left as it is.

    Wrappers are taken off, pruning by PyTorch is made permanent, and lazy layers get their shapes from two
    images. Of an answer that is a tuple, a mapping or the like, the one tensor [n, classes] is taken.

    Args:
        seed: of the initial weights of lazy layers.

    Raises:
        InputError: no module, or one that cannot be copied or moved, does not take such images, gives no
            logits, has no parameter to train, or has something else than tensors in its state.
    """
    own = plain_copy(model)
    try:
        own = own.to(device).float()
    except Exception as error:
        raise bad_input("", "model", f"a module that can be moved to {device}", in_short(error)) from None
    known = data.train.images
    pixels = known[[0, -1]] if len(known) else known.new_zeros(2, *data.size)  # none is opened yet
    images = Normaliser(data, device)(pixels.to(device).permute(0, 3, 1, 2))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        if any(is_lazy(t) for t in (*own.parameters(), *own.buffers())):
            with torch.no_grad():
                _answer(own.eval(), images, data)
        trial = plain_copy(own)  # training changes the statistics of a batch norm
        answers = [_answer(trial.train(mode), images, data) for mode in (False, True)]
    logits = [logits_of(answer, len(images), data.classes) for answer in answers]
    if not logits[-1].requires_grad:
        hint = "set requires_grad, and let forward keep gradients"
        raise bad_input("model", "parameters", "one that is trained", "none", hint=hint)
    state = own.state_dict().items()
    odd = {n: t.layout if isinstance(t, Tensor) else described(t) for n, t in state if not _is_dense(t)}
    refuse("model", (f"{name}: expected a dense tensor, found {found}" for name, found in odd.items()))
    for buffer in own.buffers():
        buffer.data = buffer.data.contiguous()  # several entries in one place cannot be loaded
    if not all(isinstance(answer, Tensor) for answer in answers):
        own.register_forward_hook(lambda _, given, answer: logits_of(answer, len(given[0]), data.classes))
    return own


def _is_dense(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided


def _answer(model: nn.Module, images: Tensor, data: Dataset) -> Any:
    """What the user's own code makes of images; InputError for whatever it raises."""
    try:
        return model(images)
    except InputError:
        raise
    except Exception as error:
        expected = f"a network for images {list(images.shape[1:])} of {data.name}"
        raise bad_input("model", "forward", expected, in_short(error)) from None
