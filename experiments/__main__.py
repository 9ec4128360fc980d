"""`python -m experiments`, from the root of the repository."""

import sys

from experiments.lib.entry import main

sys.exit(main(sys.argv[1:]))
