"""The spread and the mirror code: what they stand, and whom they accuse."""
