"""FreezeNet: values fixed at places that follow from bytes, as a watermark and as a proof of work."""

from ticket_sig.cli.watermark.freezenet import apply, check, mine, verify

VERBS = (apply, verify, mine, check)
