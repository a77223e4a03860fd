"""The client: validates, packs, uploads through presigned URLs, and deletes nothing without proof."""
