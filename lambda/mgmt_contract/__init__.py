"""The contract of client and service: records, messages, routes, problems and part arithmetic.

Standard library only. PROTOCOL.md beside this file says the same in words.
"""
