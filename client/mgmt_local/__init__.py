"""The embedded backend: the service's own code before a real storage engine, on one machine.

`control` is what the command imports, and it is light. Everything else runs in the background process.
"""
