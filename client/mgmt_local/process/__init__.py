"""Processes of the embedded backend: starting, stopping, ports, and the state folder."""
