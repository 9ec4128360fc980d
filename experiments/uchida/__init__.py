"""Uchida et al., 2017: bits in the weights of dense networks; and marks of dense networks under attack."""
