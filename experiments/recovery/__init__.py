"""What a thief changed for free, undone against the owner's reference: tables, calibration, descent."""
