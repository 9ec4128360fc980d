"""Scheme 3: images taught beside the data, so that answers alone tell the owner (NeurIPS'21, 3.4)."""
