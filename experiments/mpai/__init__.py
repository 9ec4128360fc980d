"""MPAI-NNW (IEEE 3304): all methods evaluated on the same networks, under the standard's modifications."""
