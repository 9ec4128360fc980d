"""The bundles of `checkpoints/`: how they are made, and measured again."""
