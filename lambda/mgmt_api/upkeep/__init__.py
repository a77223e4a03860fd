"""The worker's use cases: what has to be done about operations and objects when no client asks.

Each can be done twice, by two workers at once, and be interrupted at any point. Events are hints: what counts is what
the storage states when it is asked.
"""
