"""Sends bytes to presigned URLs, and measures how fast they go."""
