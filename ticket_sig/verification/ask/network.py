"""Asks a network that runs in this process, in its own precision."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ticket_sig.datasets.images import Pixels
from ticket_sig.errors import bad_input
from ticket_sig.models import build_for
from ticket_sig.models.own import in_short, logits_of, plain
from ticket_sig.ticket import Ticket
from ticket_sig.training.subject import Subject
from ticket_sig.verification.ask import Ask
from ticket_sig.verification.ask.outputs import Labels, best
from ticket_sig.verification.ask.pixels import Normalisation, normalisation_of

_BATCH = 100


def network_of(
    ticket: Ticket, channels: int, *, arch: str | None = None, dataset: str | None = None
) -> tuple[nn.Module, Normalisation]:
    """The network of a model file and its normalisation.

    Args:
        channels: of the images it is to be asked about.
        arch, dataset: its names in the registries; the recipe's by default.

    Raises:
        InputError: neither says what it is, or the weights do not fit.
    """
    subject = Subject.of(ticket, arch, dataset)
    network, images = subject.names("model")
    return build_for(network, ticket.weights), normalisation_of(images, channels)


def ask_network(model: nn.Module, normalisation: Normalisation) -> Ask:
    """Returns what asks a module for the class of its largest output.

    Args:
        model: takes [n, channels, height, width], in its own precision, and gives [n, classes], alone or
            among other tensors; it is put into the mode of evaluation while it is asked.

    Raises (when asked):
        InputError: the network does not take such images, or its outputs are no numbers [n, classes]. An
            image whose outputs name no class (NaN) has no answer.
    """

    network = plain(model)

    @torch.no_grad()
    def ask(images: Pixels) -> Labels:
        """Labels of images, as the network gives them in evaluation mode."""
        was_training = network.training
        network.eval()
        like = next((p for p in network.parameters() if p.is_floating_point()), torch.zeros(0))
        answers: Labels = []
        try:
            for start in range(0, len(images), _BATCH):
                pixels = normalisation(images[start : start + _BATCH]).transpose(0, 3, 1, 2)
                answers += _classes(network, torch.from_numpy(np.ascontiguousarray(pixels)).to(like))
        finally:
            network.train(was_training)
        if answers and answers.count(None) == len(answers):
            raise bad_input("network", "outputs", "finite numbers", "others for every image")
        return answers

    return ask


def _classes(model: nn.Module, pixels: torch.Tensor) -> Labels:
    try:
        answer = model(pixels)
    except Exception as error:  # it is the user's own code
        found = f"an error: {in_short(error)}"
        raise bad_input("network", "images", f"to take {list(pixels.shape)}", found) from None
    return best(logits_of(answer, len(pixels)).double().cpu().numpy())
