"""Layers that compute with their kept weights alone."""

from ticket_sig.models.sparse.operators import sparse_conv2d
from ticket_sig.models.sparse.plan import Plan

__all__ = ["Plan", "sparse_conv2d"]
