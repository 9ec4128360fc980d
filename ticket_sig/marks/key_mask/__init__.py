"""Scheme 1: a ticket split into a key mask and a locked mask (NeurIPS'21, section 3.3)."""
