"""Proof-of-learning: what a training, or a search for a ticket, leaves for others to check."""

from ticket_sig.transcripts.audit import audit, to_open
from ticket_sig.transcripts.choice import Choice
from ticket_sig.transcripts.openings import Openings
from ticket_sig.transcripts.outcome import Audit
from ticket_sig.transcripts.own.audit import audit_own
from ticket_sig.transcripts.own.batches import Batches
from ticket_sig.transcripts.own.record import OwnTranscript
from ticket_sig.transcripts.recording import TranscriptRecorder
from ticket_sig.transcripts.transcript import Transcript

__all__ = [
    "Audit",
    "Batches",
    "Choice",
    "Openings",
    "OwnTranscript",
    "Transcript",
    "TranscriptRecorder",
    "audit",
    "audit_own",
    "to_open",
]
