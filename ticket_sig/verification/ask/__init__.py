"""Ways to ask a suspect: one file each. What they return is an `Ask` of `verification/black_box.py`."""
