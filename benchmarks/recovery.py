"""Seconds to undo free attacks with the reference, network by network. No library does it: there is no peer.

    python benchmarks/recovery.py [--arch resnet20 resnet18] [--draws 10] [--threads 2] [--epochs 3]

A network is trained on digits and pruned once, a fifth kept. A draw is a random composition of free attacks
on it, as it is or with a further step: 20 % of what is kept pruned by magnitude, or noise of 0.1. What is
timed is `ticket_sig.recovery.align` alone, against the network as it was before.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from ticket_sig.attacks import Scene, attack
from ticket_sig.datasets import Dataset, load_dataset
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.mask import Mask
from ticket_sig.models import build, prunable_names
from ticket_sig.recovery import Reference, align
from ticket_sig.ticket import Ticket
from ticket_sig.training import Steps, preset
from ticket_sig.training.device import made_with
from ticket_sig.training.loop import Engine, train

BOUNDS = {"resnet20": 10.0, "resnet18": 60.0}  # seconds that an owner may wait
PRUNED = 0.8
THEN: dict[str, Callable[[Ticket, Scene], Ticket]] = {
    "as it is": lambda ticket, _: ticket,
    "20 % pruned": attack("magnitude-pruning", rate=0.2),
    "noise of 0.1": attack("gaussian-noise", scale=0.1),
}


def trained(arch: str, data: Dataset, epochs: int) -> tuple[nn.Module, Ticket]:
    """A network for the data, pruned once, and its ticket."""
    network = build(arch, data.classes, data.channels, seed=0)
    recipe = preset("demo", arch=arch, dataset=data.name, length=Steps(epochs))
    weights = train(network, data, recipe, Engine()).weights
    mask = Mask.full({name: weights[name] for name in prunable_names(network)})
    ticket = prune_ticket(Ticket(weights=weights, mask=mask), PRUNED)
    network.load_state_dict(dict(ticket.weights))
    return network.eval(), ticket


def seconds_of(network: nn.Module, ticket: Ticket, then: str, side: int, draws: int) -> list[float]:
    """Seconds of every draw."""
    reference, found = Reference.of(network), list[float]()
    for seed in range(draws):
        done = attack("free", size=side).carry_out(ticket, Scene(model=network, seed=seed))
        suspect = THEN[then](done.ticket, Scene(seed=seed))
        begun = time.perf_counter()
        align(suspect, reference)
        found.append(time.perf_counter() - begun)
    return found


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", nargs="+", default=list(BOUNDS))
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=3, help="of the training on digits")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    """A line for every network and further step."""
    options = arguments()
    torch.set_num_threads(options.threads)
    print(made_with(torch.device("cpu"), "float32"))
    data = load_dataset("digits")
    for arch in options.arch:
        network, ticket = trained(arch, data, options.epochs)
        for then in THEN:
            times = seconds_of(network, ticket, then, data.size[0], options.draws)
            bound = f", bound {BOUNDS[arch]:g}" if arch in BOUNDS else ""
            print(
                f"{arch}, {then}: median {statistics.median(times):.1f} s, longest {max(times):.1f} s "
                f"of {len(times)} draws{bound}",
                flush=True,
            )


if __name__ == "__main__":
    main()
