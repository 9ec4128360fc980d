"""The mirror code: bits in how often patterns of kept taps occur against their mirror images."""
