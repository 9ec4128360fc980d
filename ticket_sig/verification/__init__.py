"""Reading a signature and deciding what it proves: statistics, verdict, white box."""

from ticket_sig.verification.white_box import Reading, extract, verify

__all__ = ["Reading", "extract", "verify"]
