"""Reading the marks of a claim and deciding what they prove; which marks there are, the registry knows."""

from ticket_sig.verification.white_box import extract, verify

__all__ = ["extract", "verify"]
