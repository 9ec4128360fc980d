"""NCT: bits that a classifier reads off a network that is not changed (MPAI-NNW, NNW-TEC V1.0)."""
