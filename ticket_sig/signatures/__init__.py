"""How a message gets into a mask: scheme 2 of NeurIPS'21, a QR code in a kernel map."""
