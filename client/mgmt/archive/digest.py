"""The content digest: the same for the same content, however and whenever it is packed.

Every file has a BLAKE3 digest of its own. The content digest is BLAKE3 over the members in order: each one's frame
(see `mgmt.members.frame`), followed for a file by the 32 bytes of its own digest, so no two different lists of members
give the same bytes. Times, owners, codec and plan are left out. One pass over the files gives both, and a list of the
members with their digests is enough to compute the content digest again.

SHA-256 would take twice as long, and six times as long on processors without instructions for it. More threads
than one would only take processors from the compressing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from blake3 import blake3

from mgmt.members import Member

BEGINNING: Final = b"mgmt content 2\0"
"""What the content digest is taken over begins with this."""
_DIGEST_OF_NOTHING: Final = blake3(b"").digest()


class Placed(NamedTuple):
    """A member in the tar stream."""

    member: Member
    framed: bytes
    """Its frame."""
    content_offset: int
    """Where in the tar stream its content begins, right behind its header."""


Digested = Placed | memoryview
"""The digest's input: each member, followed by its content in pieces."""
OnMember = Callable[[Placed, bytes | None], None]
"""Gets each member with its file's digest once that is known; None for what is no file."""


class ContentDigest:
    """Takes members, each followed by its content, in order.

    Args:
        on_member: Gets each member as soon as it was read whole; called in the thread that adds.
    """

    def __init__(self, on_member: OnMember | None = None) -> None:
        self._hash = blake3(BEGINNING)
        self._on_member = on_member
        self._current: Placed | None = None
        self._file: blake3 | None = None
        self._framed: list[bytes] = []

    def add(self, items: Sequence[Digested]) -> None:
        """Take the next items, and be done with them on return."""
        for item in items:
            if isinstance(item, Placed):
                self.end_member()
                self._current = item
            elif self._file is None:
                self._file = blake3(item)
            else:
                self._file.update(item)
        self._hash_framed()

    def text(self) -> str:
        """Write the digest of everything that was added, as records carry it."""
        self.end_member()
        self._hash_framed()
        return "blake3:" + self._hash.hexdigest()

    def forget_member(self) -> None:
        """Leave out the member that was added last: its content is not whole."""
        self._current = self._file = None

    def end_member(self) -> None:
        """Be done with the member that was added last, without waiting for the next one."""
        placed, self._current = self._current, None
        if placed is None:
            return
        digest = None
        self._framed.append(placed.framed)
        if placed.member.kind == "file":
            digest = self._file.digest() if self._file is not None else _DIGEST_OF_NOTHING
            self._framed.append(digest)
            self._file = None
        if self._on_member is not None:
            self._on_member(placed, digest)

    def _hash_framed(self) -> None:
        """Hash what has gathered with one call: hundreds of small members come in one block."""
        self._hash.update(b"".join(self._framed))
        self._framed.clear()
