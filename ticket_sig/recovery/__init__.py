"""What a thief did for nothing, undone, so that a mark can be read again."""
