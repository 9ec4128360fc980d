"""Watermarks of dense networks: FreezeNet and Uchida."""

from ticket_sig.cli.watermark import freezenet, uchida

VERBS = (freezenet, uchida)
