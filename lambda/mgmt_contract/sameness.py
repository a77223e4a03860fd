"""Whether an archive is what is stored under its name already: one rule for both ends.

The digest of an object's content is what its uploader's client claimed, and its history is there for everybody to
read: alone it proves nothing. Size and CRC64NVME are what S3 states of the bytes.
"""

from __future__ import annotations

from typing import Literal

from mgmt_contract.messages.uploads import Content, Existing

Sameness = Literal["same", "claimed", "other"]
"""`same`: already there. `claimed`: reported as the same content, with other bytes. `other`: other content."""


def compare_content(existing: Existing, content: Content) -> Sameness:
    """Compare an archive with the object that is stored under its name."""
    if existing.content_digest != content.content_digest:
        return "other"
    has_same_bytes = (existing.size, existing.crc64nvme) == (content.size, content.crc64nvme)
    return "same" if has_same_bytes or existing.is_own else "claimed"


def explain_claimed(existing: Existing, owner: str) -> str:
    """Say why an object that was reported as the same content is not taken for it, and what to do.

    Args:
        existing: The object.
        owner: Who stored it, in words.
    """
    return (
        f"{existing.s3_object_key}, stored by {owner}, was reported as the same content as yours, but its bytes "
        "are not those of your archive. They may be the same files packed in another way, or something else: "
        "nothing proves it. Store yours over it with --replace (the other version stays recoverable), or under "
        "another name with --as."
    )
