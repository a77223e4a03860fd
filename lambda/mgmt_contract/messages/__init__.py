"""The bodies of every call: plain dataclasses, the same on both ends, in a module for each subject.

Requests are strict: the service refuses a field it does not know, so that a mistyped one is not silently
lost. Answers are lenient: a client ignores fields it does not know, so that a service may be newer.
Calls of an upload are lists of 1 to 100 items with one result per item, in order, and no transaction
across items. Sizes are bytes; lives are seconds from the answer on, immune to a laptop's wrong clock.
"""
