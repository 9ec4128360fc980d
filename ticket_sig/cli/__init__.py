"""The command line: `ticket-sig VERB`. One file a verb; `app` puts them together."""
