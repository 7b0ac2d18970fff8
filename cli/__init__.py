"""The command line: one file per command, each a library call and what it shows."""
