"""What a thief changes for free: the network computes the same. A new kind is one file and one line here."""

from __future__ import annotations

from ticket_sig.attacks.free.cliques import cliques
from ticket_sig.attacks.free.factored import factored
from ticket_sig.attacks.free.flipped_signs import flipped_signs
from ticket_sig.attacks.free.fused import fused
from ticket_sig.attacks.free.larger_kernels import larger_kernels
from ticket_sig.attacks.free.mirrored import mirrored
from ticket_sig.attacks.free.network import DoesNotApply, Kind, Network, Strength
from ticket_sig.attacks.free.padded import padded
from ticket_sig.attacks.free.permuted import permuted
from ticket_sig.attacks.free.prefixed import prefixed
from ticket_sig.attacks.free.renamed import renamed
from ticket_sig.attacks.free.reordered import reordered
from ticket_sig.attacks.free.rescaled import rescaled
from ticket_sig.attacks.free.rotated import rotated
from ticket_sig.attacks.free.split_neurons import noisy_split, split_neurons
from ticket_sig.attacks.free.split_norms import split_norms
from ticket_sig.attacks.free.transposed import transposed
from ticket_sig.attacks.free.zero_neurons import zero_neurons

KINDS: dict[str, Kind] = {
    # names
    "renamed": renamed,
    "prefixed": prefixed,
    "reordered": reordered,
    # storage
    "padded": padded,
    "fused": fused,
    "split-norms": split_norms,
    "larger-kernels": larger_kernels,
    "factored": factored,
    # channels
    "permuted": permuted,
    "rescaled": rescaled,
    "flipped-signs": flipped_signs,
    # dummy neurons
    "zero-neurons": zero_neurons,
    "cliques": cliques,
    "split-neurons": split_neurons,
    "noisy-split": noisy_split,
    # the network as a whole
    "transposed": transposed,
    "mirrored": mirrored,
    "rotated": rotated,
}

__all__ = ["KINDS", "DoesNotApply", "Kind", "Network", "Strength"]
