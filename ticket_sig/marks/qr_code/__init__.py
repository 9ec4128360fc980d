"""Scheme 2: a QR code in the connectivity of one layer (NeurIPS'21, section 3.4)."""
