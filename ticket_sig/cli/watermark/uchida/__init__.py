"""Uchida: bits taught to the weights of one layer by a regularizer."""

from ticket_sig.cli.watermark.uchida import decode, embed

VERBS = (embed, decode)
