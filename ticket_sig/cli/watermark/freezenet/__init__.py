"""FreezeNet: values fixed at places that follow from bytes, as a watermark and as a proof of work."""

VERBS = ()
