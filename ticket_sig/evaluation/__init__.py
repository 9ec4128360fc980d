"""Measuring what marks cost and what they survive."""
