"""Proof-of-learning: Jia et al., S&P 2021, and what audits of this package find that theirs let through."""
