"""Archives made to do harm where they are unpacked, each as the bytes of a `.tar.gz`.

`REFUSED` are refused whole. `LED_OUT` hold symlinks that lead out of the tree and nothing else that is wrong. Beside
the folder that they are unpacked in lies a file called `canary` and a folder called `outside` with one in it.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Entry = tuple[tarfile.TarInfo, bytes]


def entry(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", target: str = "", **facts: Any) -> Entry:
    """Describe a member; a folder by its kind, a link by its target too."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(content)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in facts.items():
        setattr(info, key, value)
    return info, content


def folder(name: str, **facts: Any) -> Entry:
    return entry(name, tarfile.DIRTYPE, **facts)


def file(name: str, content: bytes = b"evil", **facts: Any) -> Entry:
    return entry(name, content=content, **facts)


def symlink(name: str, target: str) -> Entry:
    return entry(name, tarfile.SYMTYPE, target=target)


def hardlink(name: str, target: str) -> Entry:
    return entry(name, tarfile.LNKTYPE, target=target)


def tar_of(entries: Iterable[Entry], form: int = tarfile.GNU_FORMAT) -> bytes:
    """Write a tar stream."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def archive_of(*entries: Entry, form: int = tarfile.GNU_FORMAT) -> bytes:
    return gzip.compress(tar_of(entries, form), 1)


def header(name: bytes, kind: bytes, size: bytes, content: bytes = b"", *, mode: bytes = b"0000644\0") -> bytes:
    """Write a header with any bytes as its size and mode, and what follows it."""
    record = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
    record[0:100] = name.ljust(100, b"\0")
    record[100:108] = mode
    record[124:136] = size.ljust(12, b"\0")
    record[156:157] = kind
    record[148:156] = b" " * 8
    record[148:156] = b"%06o\0 " % sum(record)
    return bytes(record) + content + bytes(-len(content) % 512)


def pax(records: Mapping[str, str], kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Write a PAX header."""
    content = b""
    for key, value in records.items():
        line = f" {key}={value}\n".encode("utf-8", "surrogateescape")
        length = len(line) + len(str(len(line)))
        length = len(line) + len(str(length))
        content += b"%d" % length + line
    return header(b"pax", kind, b"%011o" % len(content), content)


def _raw(*pieces: bytes) -> bytes:
    return gzip.compress(b"".join([_ROOT, *pieces, bytes(1024)]), 1)


_ROOT = folder("P")[0].tobuf(tarfile.USTAR_FORMAT)
_FILE = header(b"P/x", b"0", b"%011o" % 4, b"evil")
_P, _SUB = folder("P"), folder("P/sub")

REFUSED: dict[str, Callable[[], bytes]] = {
    "absolute file": lambda: archive_of(_P, file("/tmp/mgmt-escape")),
    "absolute folder": lambda: archive_of(folder("/tmp/mgmt-escape")),
    "absolute in the prefix field": lambda: gzip.compress(
        file("/" + "tmp/" * 30 + "x")[0].tobuf(tarfile.USTAR_FORMAT) + b"evil".ljust(512, b"\0") + bytes(1024)
    ),
    "up from the root": lambda: archive_of(_P, file("P/../escape")),
    "up far": lambda: archive_of(_P, file("P/../../../escape")),
    "up at once": lambda: archive_of(file("../escape")),
    "up in the middle": lambda: archive_of(_P, _SUB, file("P/sub/../../../canary")),
    "folder called ..": lambda: archive_of(_P, folder("P/..")),
    "root called ..": lambda: archive_of(folder("..")),
    "root called .": lambda: archive_of(folder(".")),
    "empty name": lambda: archive_of(_P, file("P//x")),
    "file with a slash at its end": lambda: _raw(header(b"P/x/", b"1", b"0" * 11)),
    "no name": lambda: archive_of(file("")),
    "dot in the middle": lambda: archive_of(_P, file("P/./x")),
    "NUL in a path": lambda: _raw(pax({"path": "P/a\0b"}), _FILE),
    "NUL in a symlink": lambda: _raw(pax({"linkpath": "a\0b"}), header(b"P/l", b"2", b"0" * 11)),
    "path in a PAX header": lambda: _raw(pax({"path": "P/../../canary"}), _FILE),
    "path in a PAX header for all": lambda: _raw(pax({"path": "../canary"}, tarfile.XGLTYPE), _FILE),
    "path in a GNU header": lambda: _raw(header(b"././@LongLink", b"L", b"%011o" % 13, b"P/../../evil\0"), _FILE),
    "below an absolute link": lambda: archive_of(_P, symlink("P/l", "/tmp"), file("P/l/mgmt-escape")),
    "below a link out": lambda: archive_of(_P, symlink("P/l", "../../outside"), file("P/l/canary")),
    "below a link inside": lambda: archive_of(_P, _SUB, symlink("P/l", "sub"), file("P/l/x")),
    "below a chain of links": lambda: archive_of(
        _P, symlink("P/a", "."), symlink("P/b", "a/.."), symlink("P/c", "b/.."), file("P/c/canary")
    ),
    "folder below a link out": lambda: archive_of(_P, symlink("P/l", "../.."), folder("P/l/outside", mode=0o777)),
    "folder over a link": lambda: archive_of(_P, symlink("P/l", "../../outside"), folder("P/l", mode=0o777)),
    "file over a link out": lambda: archive_of(_P, symlink("P/l", "../../canary"), file("P/l")),
    "file over a link inside": lambda: archive_of(_P, file("P/a", b""), symlink("P/l", "a"), file("P/l")),
    "link twice": lambda: archive_of(_P, symlink("P/l", "a"), symlink("P/l", "../../outside")),
    "link made a folder made a link": lambda: archive_of(_P, _SUB, symlink("P/sub", "../../outside"), file("P/sub/x")),
    "file twice": lambda: archive_of(_P, file("P/x", b"good"), file("P/x")),
    "below a file": lambda: archive_of(_P, file("P/x"), file("P/x/y")),
    "folder over a file": lambda: archive_of(_P, file("P/x"), folder("P/x")),
    "file over a folder": lambda: archive_of(_P, _SUB, file("P/sub")),
    "hard link to an absolute path": lambda: archive_of(_P, hardlink("P/h", "/etc/passwd")),
    "hard link up": lambda: archive_of(_P, hardlink("P/h", "../canary")),
    "hard link up through the root": lambda: archive_of(_P, hardlink("P/h", "P/../../canary")),
    "hard link to another root": lambda: archive_of(_P, hardlink("P/h", "canary")),
    "hard link through a link": lambda: archive_of(_P, symlink("P/l", "../../outside"), hardlink("P/h", "P/l/canary")),
    "hard link through a link inside": lambda: archive_of(
        _P, _SUB, file("P/sub/x"), symlink("P/l", "sub"), hardlink("P/h", "P/l/x")
    ),
    "hard link to a link": lambda: archive_of(_P, symlink("P/l", "../../canary"), hardlink("P/h", "P/l")),
    "hard link to a link, then its content": lambda: archive_of(
        _P, symlink("P/l", "../../canary"), hardlink("P/h", "P/l"), file("P/h")
    ),
    "hard link to a folder": lambda: archive_of(_P, _SUB, hardlink("P/h", "P/sub")),
    "hard link to the root": lambda: archive_of(_P, hardlink("P/h", "P")),
    "hard link to itself": lambda: archive_of(_P, hardlink("P/h", "P/h")),
    "hard link to a later file": lambda: archive_of(_P, hardlink("P/h", "P/x"), file("P/x")),
    "hard link, then its content": lambda: archive_of(_P, file("P/x"), hardlink("P/h", "P/x"), file("P/h")),
    "character device": lambda: archive_of(_P, entry("P/d", tarfile.CHRTYPE, devmajor=1, devminor=3)),
    "block device": lambda: archive_of(_P, entry("P/d", tarfile.BLKTYPE, devmajor=8)),
    "named pipe": lambda: archive_of(_P, entry("P/d", tarfile.FIFOTYPE)),
    "socket of another tar": lambda: _raw(header(b"P/s", b"s", b"0" * 11)),
    "volume header": lambda: _raw(header(b"volume", b"V", b"0" * 11)),
    "second volume": lambda: _raw(header(b"P/x", b"M", b"0" * 11)),
    "two roots": lambda: archive_of(_P, file("Q")),
    "root is a symlink": lambda: archive_of(symlink("P", "../outside")),
    "root is a symlink, then a folder": lambda: archive_of(symlink("P", "../outside"), _P, file("P/x")),
    "root is a hard link": lambda: archive_of(hardlink("P", "canary")),
    "root is a file, then a folder": lambda: archive_of(file("P"), _P),
    "root twice as a file": lambda: archive_of(file("P"), file("P")),
    "symlink without a target": lambda: archive_of(_P, symlink("P/l", "")),
    "nothing": lambda: gzip.compress(bytes(10_240)),
    "PAX header of 2 GiB": lambda: _raw(header(b"p", b"x", b"17777777777"), bytes(4096)),
    "name of 2 GiB": lambda: _raw(header(b"p", b"L", b"17777777777"), bytes(4096)),
    "headers without end": lambda: _raw(header(b"p", b"L", b"%011o" % 4, b"P/x\0") * 5_000, _FILE),
    "PAX headers without end": lambda: _raw(pax({"mtime": "1"}) * 5_000, _FILE),
    "shared PAX records without end": lambda: _raw(
        pax({f"a{number}": "x" for number in range(200)}, tarfile.XGLTYPE), _FILE
    ),
    "size below zero": lambda: _raw(header(b"P/x", b"0", b"\xff" * 11 + b"\x00"), _FILE),
    "size below zero in a PAX header": lambda: _raw(pax({"size": "-1024"}), _FILE),
    "size below zero of a PAX header": lambda: _raw(header(b"p", b"x", b"\xff" * 10 + b"\xfc\x00"), _FILE),
    "size of a unknown type leads back": lambda: _raw(header(b"P/x", b"Z", b"\xff" * 10 + b"\xf0\x00"), _FILE),
    "mode that no system has": lambda: _raw(header(b"P/x", b"0", b"%011o" % 4, b"evil", mode=b"\x80\0\0\1\0\0\0\0")),
    "mode below zero": lambda: _raw(header(b"P/x", b"0", b"%011o" % 4, b"evil", mode=b"\xff" * 8)),
    "time is no number": lambda: _raw(pax({"mtime": "nan"}), _FILE),
    "time is infinite": lambda: _raw(pax({"mtime": "inf"}), _FILE),
}
"""Each is refused with the code hostile-archive."""

LED_OUT: dict[str, tuple[Callable[[], bytes], list[str]]] = {
    "absolute": (lambda: archive_of(_P, symlink("P/l", "/etc/passwd")), ["P/l"]),
    "up": (lambda: archive_of(_P, symlink("P/l", "../canary")), ["P/l"]),
    "up too far": (lambda: archive_of(_P, _SUB, symlink("P/sub/l", "../../canary")), ["P/sub/l"]),
    "down and up": (lambda: archive_of(_P, _SUB, symlink("P/l", "sub/../../canary")), ["P/l"]),
    "through an earlier link": (
        lambda: archive_of(_P, _SUB, symlink("P/sub/up", ".."), symlink("P/sub/l", "up/../canary")),
        ["P/sub/l"],
    ),
    "through a later link": (
        lambda: archive_of(_P, _SUB, symlink("P/sub/l", "up/../canary"), symlink("P/sub/up", "..")),
        ["P/sub/l"],
    ),
    "chain": (
        lambda: archive_of(_P, symlink("P/a", "."), symlink("P/b", "a/.."), symlink("P/c", "b/../canary")),
        ["P/b", "P/c"],
    ),
    "slashes before": (lambda: archive_of(_P, symlink("P/l", "//etc/passwd")), ["P/l"]),
    "dots between": (lambda: archive_of(_P, symlink("P/l", "./.././canary")), ["P/l"]),
}
"""What is unpacked without the links that are named; the rest is there."""
