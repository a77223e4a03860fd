"""What the client and the service agree on: records, messages, routes, problems and part arithmetic.

Standard library only. PROTOCOL.md beside this file says in words what the modules say in types.
"""
