"""`python -m ticket_sig` is `ticket-sig`."""

from ticket_sig.cli.app import main

main()
