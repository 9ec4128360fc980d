"""Proof-of-learning for a training loop of a user's own."""
