"""Uchida: bits taught to the weights of one layer by a regularizer."""

VERBS = ()
