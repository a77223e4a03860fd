"""Entities, checks, access, redaction and settings: the service's knowledge without any store."""
