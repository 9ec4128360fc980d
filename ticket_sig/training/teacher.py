"""Knowledge distillation: a network learns what another one answers, beside the labels or in place of them.

Source: Hinton, Vinyals and Dean, 2015, "Distilling the Knowledge in a Neural Network", section 2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ticket_sig.digests import json_digest, tensor_digest
from ticket_sig.models.own import logits_of, plain_copy


class Teacher:
    """A copy of a trained network, in evaluation: nothing of it changes, its batch norm's statistics neither.

    Attributes:
        digest: SHA-256 of all that decides what it teaches.
    """

    def __init__(self, network: nn.Module, *, temperature: float, share: float) -> None:
        """Copies the network, which is left as it is.

        Args:
            network: gives logits [n, classes].
            temperature: both networks' logits are divided by it before the softmax.
            share: of the softened answers in the loss; the labels have the rest.
        """
        self._network = plain_copy(network).eval().requires_grad_(False)
        self._temperature, self._share = temperature, share
        facts = {
            "weights": tensor_digest(self._network.state_dict()),
            "temperature": temperature,
            "share": share,
        }
        self.digest = json_digest(facts)

    def move(self, device: torch.device) -> None:
        """Puts the copy onto a device."""
        self._network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def answers(self, images: Tensor) -> Tensor:
        """Its logits [n, classes] for images [n, channels, height, width], float32."""
        return logits_of(self._network(images), len(images)).float()

    def loss(self, logits: Tensor, answers: Tensor, by_labels: Tensor) -> Tensor:
        """The loss of a student, a scalar: the softened answers' share of it is times temperature squared.

        Args:
            logits: the student's, [n, classes].
            answers: the teacher's, alike.
            by_labels: the loss by labels, a scalar.
        """
        own, taught = (F.log_softmax(t / self._temperature, 1) for t in (logits, answers))
        soft = F.kl_div(own, taught, log_target=True, reduction="batchmean")
        return self._share * self._temperature**2 * soft + (1 - self._share) * by_labels
