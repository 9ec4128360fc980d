"""Evaluation of marks by IEEE 3304 (MPAI-NNW): imperceptibility, robustness and computational cost."""
