"""Signing in and out, and the person that is signed in: without long-lived keys on this machine."""
