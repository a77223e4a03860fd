"""Checks the names in an archive: refuses those that are an attack, and those that this system cannot have.

Pure functions of the bytes alone, so that every system tests what another one refuses.
"""

from __future__ import annotations

import os
import re
from typing import Final

from mgmt.errors import IntegrityError, LocalStateError
from mgmt.text import shown

PERMISSIONS: Final = 0o777
"""Bits of a mode that are brought back: setuid, setgid and sticky bits are not."""
_RESERVED: Final = re.compile(
    r"(?i)(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])[ ]*(?:\..*)?", re.DOTALL
)
"""Names of devices, whatever follows behind a dot. Source: Microsoft, "Naming Files, Paths, and Namespaces"."""
_NOT_ON_WINDOWS: Final = re.compile(r'[<>:"|?*\\\x00-\x1f]')


def hostile(why: str) -> IntegrityError:
    """Make the error for an archive that has names or links which no upload has."""
    return IntegrityError(
        f"The archive cannot be unpacked safely: {why}. mgmt packs no such thing, so ask for its origin. Nothing of it "
        "was unpacked.",
        code="hostile-archive",
    )


def not_here(path: bytes, why: str) -> LocalStateError:
    """Make the error for a member that this system or disk cannot have."""
    return LocalStateError(
        f"'{shown(path)}' cannot be unpacked here: {why}. Unpack on a disk or system that takes it, or keep the "
        "archive as it is.",
        code="not-possible-here",
    )


def split_path(path: bytes) -> list[bytes]:
    """Cut a member's path into its names, from the root's on.

    Raises:
        IntegrityError: hostile-archive, for a path that leads elsewhere than below one root.
    """
    parts = path.removeprefix(b"./").split(b"/")
    if b"" in parts:
        why = "is absolute" if path.startswith(b"/") else "has an empty name in it"
    elif b".." in parts or b"." in parts:
        why = "leads through '..' or '.'"
    elif b"\0" in path:
        why = "has a NUL in it"
    else:
        return parts
    raise hostile(f"the path '{shown(path[:200])}' {why}")


def refuse_for_system(path: bytes, parts: list[bytes], *, is_windows: bool = os.name == "nt") -> None:
    """Refuse a name that this system gives another meaning.

    Raises:
        LocalStateError: not-possible-here.
    """
    if not is_windows:
        return
    for name in parts:
        why = reason_not_on_windows(name)
        if why is not None:
            raise not_here(path, f"on Windows {why}")


def reason_not_on_windows(name: bytes) -> str | None:
    r"""Say why Windows cannot have a file of that name.

    >>> reason_not_on_windows(b"clip.mov"), reason_not_on_windows(b"a:b")
    (None, "no name may have ':' in it")
    """
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return "names are Unicode, and this one is not"
    found = _NOT_ON_WINDOWS.search(text)
    if found is not None:
        return f"no name may have {found[0]!r} in it"
    if text.endswith((".", " ")):
        return "no name may end with a dot or a space"
    if _RESERVED.fullmatch(text):
        return "that name is reserved for a device"
    return None


def leads_out(target: bytes, depth: int, *, is_windows: bool = os.name == "nt") -> bool:
    """Tell whether a symlink may lead out of the tree, now or through links that are made later.

    A link stays inside where ".." stands only at the beginning of its target, no more often than there are folders
    above it: these are real ones, as nothing is made through links. The names that follow lead down, or to
    another such link. A ".." behind a name may leave the tree where that name is a link itself.

    Args:
        target: The link's text.
        depth: Folders from the root on that the link lies in: 1 directly in the root.
        is_windows: Whether backslashes and drives have a meaning.
    """
    if is_windows:
        if b":" in target:
            return True
        target = target.replace(b"\\", b"/")
    if target.startswith(b"/"):
        return True
    parts = [part for part in target.split(b"/") if part not in (b"", b".")]
    ups = 0
    while ups < len(parts) and parts[ups] == b"..":
        ups += 1
    return ups >= depth or b".." in parts[ups:]
