"""What a thief did for nothing, undone against the owner's reference: tables, calibration, descent."""
