"""Files and folders to upload: plain ones, awkward ones, and a way to compare what came out again."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import random
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONG_NAME = "n" * 251 + ".mov"
"""255 bytes."""
NOT_UTF8_NAME = b"caf\xe9 \xff.mov"
DEEP_PATH_BYTES = 4_500
_DEEP_NAME = "d" * 249
_TOOL_ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}


def noise(size_bytes: int, seed: int = 1) -> bytes:
    """Make bytes that do not shrink, as footage; the same for the same seed."""
    return (_kept_noise if size_bytes <= _KEPT_MAX_BYTES else _make_noise)(size_bytes, seed)


def _make_noise(size_bytes: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size_bytes)  # noqa: S311  noise, not a secret


_KEPT_MAX_BYTES = 48 * 2**20
_kept_noise = functools.lru_cache(maxsize=2)(_make_noise)
"""Most tests of large files want the same one, which takes as long to make as to upload."""


def text(size_bytes: int, seed: int = 1) -> bytes:
    """Make bytes that shrink to about a third, as a log or a script; the same for the same seed."""
    chooser = random.Random(seed)  # noqa: S311  words, not a secret
    words = [chooser.randbytes(chooser.randrange(1, 6)).hex().encode() for _ in range(2_000)]
    lines = [b" ".join(chooser.choices(words, k=12)) for _ in range(4_000)]
    page = b"\n".join(lines)
    return (page * (size_bytes // len(page) + 1))[:size_bytes]


def awkward_tree(root: Path) -> Path:
    """Make a folder of everything that trips archivers: names, links, modes, times and sizes."""
    root.mkdir(parents=True)
    _add_names(root / "names")
    _add_links(root / "links")
    _add_sizes(root / "sizes")
    _add_modes(root / "modes")
    _add_times(root / "times")
    return root


def litter(folder: Path) -> list[str]:
    """Put unwanted files into a folder; return their names."""
    names = [".DS_Store", "._clip.mov", "Thumbs.db", "Desktop.ini", ".clip.tar.gz.mgmt-0f12ab34.part"]
    for name in names:
        (folder / name).write_bytes(b"litter")
    for name in (".Spotlight-V100", ".Trashes", ".fseventsd", "$RECYCLE.BIN"):
        (folder / name).mkdir()
        (folder / name / "inside").write_bytes(b"litter")
        names.append(name)
    return names


def deep_file(root: Path, content: bytes, folder_name: str = _DEEP_NAME, size_bytes: int = DEEP_PATH_BYTES) -> bytes:
    """Make a file whose path is longer than the system takes in one; return its path below `root`."""
    names = [folder_name] * (size_bytes // len(folder_name))
    descriptor = os.open(root, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=descriptor)
        following = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = following
    file = os.open("bottom.txt", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor)
    os.write(file, content)
    os.close(file)
    os.close(descriptor)
    return os.fsencode("/".join([*names, "bottom.txt"]))


def many_files(root: Path, count: int, per_folder: int = 100) -> Path:
    """Make many small files in folders of `per_folder`."""
    for index in range(count):
        folder = root / f"{index // per_folder:05d}"
        if index % per_folder == 0:
            folder.mkdir(parents=True)
        (folder / f"{index:07d}.txt").write_bytes(b"%d\n" % index)
    return root


def copy_tree(source: Path, target: Path) -> Path:
    """Copy a tree with its times, modes and links, as a backup of a folder."""
    run_tool("cp", "-a", "--", os.fspath(source), os.fspath(target))
    return target


def unpack(tool: str, archive: Path, folder: Path) -> Path:
    """Extract an archive with GNU tar or bsdtar, restoring modes; fail on their faintest complaint."""
    folder.mkdir()
    quiet = ["--warning=no-timestamp"] if tool == "tar" else []  # it finds 1969 and 2242 remarkable
    done = run_tool(tool, *quiet, "-xpf", os.fspath(archive), "-C", os.fspath(folder))
    assert not done.stderr, done.stderr
    return folder


def run_tool(*command: str) -> subprocess.CompletedProcess[bytes]:
    """Run a tool of the system; it must be there and succeed."""
    assert shutil.which(command[0]), f"{command[0]} is not installed: `make setup` installs what tests need"
    done = subprocess.run(command, capture_output=True, check=False, env=_TOOL_ENVIRONMENT)
    assert done.returncode == 0, (command, done.stderr)
    return done


def open_descriptors() -> set[tuple[int, int, int]]:
    """Return what this process has open: each descriptor's number, device and inode.

    Compare by what is new: a server's thread of an earlier test may close its own at any moment.
    """
    found: set[tuple[int, int, int]] = set()
    for number in [int(entry.name) for entry in Path("/dev/fd").iterdir()]:
        with contextlib.suppress(OSError):  # closed by now, as the one that read this folder is
            status = os.fstat(number)
            found.add((number, status.st_dev, status.st_ino))
    return found


def describe(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Say all that an archive should keep of a tree: kind, mode, whole seconds, content or target, twins."""
    found: dict[bytes, tuple[object, ...]] = {}
    first_names: dict[int, bytes] = {}
    top = os.fsencode(root)
    for folder, folders, files in os.walk(top):
        folders.sort()
        for name in [b"", *sorted(folders + files)]:
            path = os.path.join(folder, name) if name else folder  # noqa: PTH118  bytes
            status = os.lstat(path)
            key = path[len(top) :]
            found[key] = (
                stat.S_IFMT(status.st_mode),
                stat.S_IMODE(status.st_mode),
                status.st_mtime_ns // 10**9,
                _content(path, status),
                first_names.setdefault(status.st_ino, key),
            )
    return found


@contextmanager
def small_disk(folder: Path, size_mib: int) -> Iterator[Path | None]:
    """Mount a disk of that size at `folder`; None where the system does not allow it."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", os.fspath(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EACCES):
            raise
        mounted = False
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", os.fspath(folder)], check=True)


def _add_names(folder: Path) -> None:
    folder.mkdir()
    names = [
        "line\nbreak.txt", "-rf", "--help", "\N{CLAPPER BOARD} take 1.mov", "two  spaces ", "quote'\".txt",
        "back\\slash", "star*?", "...", "tab\there", "\x1b[31mred", LONG_NAME, "Zebra", "apple", "apple.d",
        "Caf\u00e9", "Cafe\u0301",
    ]  # fmt: skip
    for index, name in enumerate(names):
        (folder / name).write_bytes(b"content %d" % index)
    (folder / os.fsdecode(NOT_UTF8_NAME)).write_bytes(b"latin")
    for inner in ("p" * 90 + "/" + "q" * 90, "r" * 100 + "/" + "s" * 120, "\N{SNOWMAN}" * 60):
        (folder / inner).mkdir(parents=True)
        (folder / inner / "file.txt").write_bytes(inner.encode())
    (folder / "a-folder").mkdir()
    (folder / "a-folder" / "x").write_bytes(b"sorted after a-folder, before a.txt")
    (folder / "a.txt").write_bytes(b"")


def _add_links(folder: Path) -> None:
    folder.mkdir()
    (folder / "data").write_bytes(text(5_000))
    (folder / "sub").mkdir()
    os.link(folder / "data", folder / "sub" / "twin")
    os.link(folder / "data", folder / "zz-twin")
    targets = {
        "to-file": "data", "to-folder": "sub", "dangling": "nowhere", "loop": "loop", "out": "../../..",
        "absolute": "/etc/hostname", "long": "t/" * 120 + "end", "snowman": "\N{SNOWMAN}",
        "not-utf8": os.fsdecode(b"\xff\xfe"),
    }  # fmt: skip
    for name, target in targets.items():
        (folder / name).symlink_to(target)


def _add_sizes(folder: Path) -> None:
    folder.mkdir()
    (folder / "empty-folder").mkdir()
    for size_bytes in (0, 1, 511, 512, 513, 32_768, 65_535, 65_536):
        (folder / f"noise-{size_bytes}").write_bytes(noise(size_bytes, seed=size_bytes))
    for size_bytes in (2**20 - 1, 2**20, 2**20 + 1):
        (folder / f"text-{size_bytes}").write_bytes(text(size_bytes, seed=size_bytes))
    (folder / "footage").write_bytes(noise(3 * 2**20 + 7))
    with (folder / "sparse").open("wb") as file:
        file.truncate(2**21)


def _add_modes(folder: Path) -> None:
    folder.mkdir()
    for mode in (0o400, 0o444, 0o600, 0o644, 0o755, 0o777, 0o4755, 0o2755):
        file = folder / f"mode-{mode:o}"
        file.write_bytes(b"")
        file.chmod(mode)
    (folder / "sticky").mkdir()
    (folder / "sticky").chmod(0o1777)


def _add_times(folder: Path) -> None:
    folder.mkdir()
    for seconds in (-86_400, -1, 0, 1, 1_700_000_000, 8**11 + 5):
        file = folder / f"time{seconds}"
        file.write_bytes(b"")
        os.utime(file, ns=(0, seconds * 10**9 + 250_000_000))
    os.utime(folder, ns=(0, 1_600_000_000 * 10**9 + 999_999_999))


def _content(path: bytes, status: os.stat_result) -> object:
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path)  # noqa: PTH115  bytes
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:  # noqa: PTH123  bytes
            return hashlib.file_digest(file, "sha256").hexdigest()
    return None
