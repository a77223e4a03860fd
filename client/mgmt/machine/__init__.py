"""This machine: interrupts, staying awake, open files, and the safe removal of files."""
