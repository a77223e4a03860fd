"""Signing in and out, and who is signed in: without long-lived keys on this machine."""
