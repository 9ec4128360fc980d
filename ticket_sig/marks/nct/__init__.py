"""Uchida: bits in the mean filter of one layer (Uchida et al., ICMR 2017)."""
