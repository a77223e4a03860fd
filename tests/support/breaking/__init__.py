"""What `make faults` does: it breaks uploads, downloads and removals for real, many times, and looks at what is left.

The client is the real command in a process of its own; service, records and storage engine are real as well.
Each case has a laptop and a name of its own, and begins with nothing. After what breaks it, the same command is run
again with nothing broken: `kills.look` then says all that is not as it must be.
"""
