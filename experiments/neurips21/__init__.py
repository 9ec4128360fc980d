"""Chen et al., NeurIPS 2021: its tables and figures, one file each, and every attack on one network."""
