"""Bouvard, 2020: the experiments on FreezeNet, and its proof of work."""
