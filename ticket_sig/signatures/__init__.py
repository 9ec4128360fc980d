"""How a message gets into a mask: scheme 2 of NeurIPS'21, a QR code in a kernel map."""

from ticket_sig.signatures.scheme2 import Embedded, Signature, embed

__all__ = ["Embedded", "Signature", "embed"]
