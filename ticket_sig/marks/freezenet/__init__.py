"""FreezeNet: values fixed at places, both of which follow from bytes (Bouvard, 2020)."""
