"""Entities, checks, access, redaction and settings: what the service knows without any store."""
