"""What a person names: missing, special, awkward, linked. Each as a row of the list."""

import os
import socket

import pytest

from support.inputs import Case, each
from support.trees import LONG_NAME, NOT_UTF8_NAME, deep_file, litter, noise, run_tool, text


def file(name, content=b"footage"):
    """Make one file."""
    return lambda work: (work / name).write_bytes(content)


def folder(name, files=None):
    """Make a folder with these files, or with one."""

    def arrange(work):
        (work / name).mkdir()
        for each_name, content in (files or {"clip": b"footage"}).items():
            (work / name / each_name).write_bytes(content)

    return arrange


def together(*steps):
    """Make all of it."""

    def arrange(work):
        for step in steps:
            step(work)

    return arrange


def link(name, target):
    return lambda work: (work / name).symlink_to(target)


def fifo(name):
    return lambda work: os.mkfifo(work / name)


def device(name):
    return lambda work: os.mknod(work / name, 0o600 | 0o020000, os.makedev(1, 3))


def bind_socket(name):
    def arrange(work):
        here = os.open(".", os.O_RDONLY)
        os.chdir((work / name).parent)  # a socket's path has room for a hundred bytes
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind((work / name).name)
        finally:
            os.fchdir(here)
            os.close(here)

    return arrange


def mode(name, bits):
    return lambda work: (work / name).chmod(bits)


ONLY_FILES = "Only files and folders can be uploaded."
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser makes devices")


@each(
    Case("no such file", "", ["upload", "clip.mp4"], 4, ["'clip.mp4' not found in /"]),
    Case("no such file", "in a folder that is not there", ["upload", "a/b"],
         4, ["'a/b' not found in /"]),
    Case("no such file", "below a file", ["upload", "a/b"], 4, ["'a/b' not found in /"], file("a")),
    Case("no such file", "among others", ["upload", "a", "b", "c"], 3, ["'b' not found in /"],
         together(file("a"), file("c")), {"a.tar.gz": "a", "c.tar.gz": "c"}),
    Case("empty name", "", ["upload", ""], 2, ["name is empty", "expected a file or directory"]),
    Case("empty name", "among others", ["upload", "a", ""], 2, ["name is empty"], file("a")),
    Case("unreadable file in a directory", "", ["upload", "card"], 4,
         ["'card/b' cannot be read: permission denied", "Make it readable", "--exclude"],
         together(folder("card", {"a": b"1", "b": b"2"}), mode("card/b", 0)), is_ordinary_user=True),
    Case("unreadable file in a directory", "left out with --exclude", ["upload", "card", "--exclude", "b"], 0, ["✓"],
         together(folder("card", {"a": b"1", "b": b"2"}), mode("card/b", 0)), {"card.tar.gz": "card"},
         is_ordinary_user=True, leaves_out=["b"]),
    Case("unreadable file in a directory", "a closed folder", ["upload", "card"], 4, ["'card/in' cannot be read"],
         together(folder("card"), folder("card/in"), mode("card/in", 0)), is_ordinary_user=True),
    Case("unreadable file in a directory", "the file itself", ["upload", "a"], 4, ["'a' cannot be read"],
         together(file("a"), mode("a", 0)), is_ordinary_user=True),
    Case("fifo", "named", ["upload", "tape"], 4, ["'tape' is a named pipe", ONLY_FILES], fifo("tape")),
    Case("fifo", "inside", ["upload", "card"], 0, ["card/tape is skipped: a named pipe"],
         together(folder("card"), fifo("card/tape")), {"card.tar.gz": "card"}, leaves_out=["tape"]),
    Case("socket", "named", ["upload", "plug"], 4, ["'plug' is a socket", ONLY_FILES], bind_socket("plug")),
    Case("socket", "inside", ["upload", "card"], 0, ["card/plug is skipped: a socket"],
         together(folder("card"), bind_socket("card/plug")), {"card.tar.gz": "card"}, leaves_out=["plug"]),
    Case("device", "named", ["upload", "/dev/null"], 4, ["'/dev/null' is a device", ONLY_FILES]),
    Case("name with a newline", "", ["upload", "a\nb"], 4, ["a\\nb", "cannot be stored under its name", "--as NAME"],
         file("a\nb")),
    Case("name with a newline", "with --as", ["upload", "a\nb", "--as", "ab"], 0, ["✓ a\\nb"],
         file("a\nb"), {"ab.tar.gz": "a\nb"}),
    Case("name with a newline", "inside", ["upload", "card"], 0, ["✓"],
         folder("card", {"a\nb": b"1"}), {"card.tar.gz": "card"}),
    Case("name with an emoji", "", ["upload", "🎬 1.mov"], 0, ["✓ 🎬 1.mov"],
         file("🎬 1.mov"), {"🎬 1.mov.tar.gz": "🎬 1.mov"}),
    Case("name with a leading dash", "", ["upload", "-rf"], 2, ["-r", "--help"], file("-rf")),
    Case("name with a leading dash", "after --", ["upload", "--", "-rf"], 0, ["✓ -rf"],
         file("-rf"), {"-rf.tar.gz": "-rf"}),
    Case("name with a leading dash", "as ./-rf", ["upload", "./-rf"], 0, ["✓ -rf"],
         file("-rf"), {"-rf.tar.gz": "-rf"}),
    Case("name of 255 bytes", "", ["upload", LONG_NAME],
         4, ["has 262 bytes", "at most 255", "shorter name with --as"], file(LONG_NAME)),
    Case("name of 255 bytes", "with --as", ["upload", LONG_NAME, "--as", "short"], 0, ["✓"],
         file(LONG_NAME), {"short.tar.gz": LONG_NAME}),
    Case("name of 255 bytes", "inside", ["upload", "card"], 0, ["✓"],
         folder("card", {LONG_NAME: b"1"}), {"card.tar.gz": "card"}),
    Case("name of 255 bytes", "one of 256", ["upload", "n" * 256], 4, ["cannot be a file name"]),
    Case("name that is not UTF-8", "", ["upload", NOT_UTF8_NAME],
         4, ["caf\\xe9", "cannot be stored under its name", "--as NAME"],
         file(os.fsdecode(NOT_UTF8_NAME))),
    Case("name that is not UTF-8", "with --as", ["upload", NOT_UTF8_NAME, "--as", "cafe"], 0, ["✓ caf\\xe9"],
         file(os.fsdecode(NOT_UTF8_NAME)), {"cafe.tar.gz": os.fsdecode(NOT_UTF8_NAME)}),
    Case("name that is not UTF-8", "inside", ["upload", "card"], 0, ["✓"],
         folder("card", {os.fsdecode(NOT_UTF8_NAME): b"1"}), {"card.tar.gz": "card"}),
    Case("name in NFC and NFD", "NFD alone", ["upload", "Cafe\u0301"], 0, ["✓"],
         file("Cafe\u0301"), {"Caf\u00e9.tar.gz": "Cafe\u0301"}),
    Case("name in NFC and NFD", "both at once", ["upload", "Cafe\u0301", "Caf\u00e9"],
         3, ["differ only in how their accented letters are encoded", "--as NAME"],
         together(file("Cafe\u0301"), file("Caf\u00e9")), {"Caf\u00e9.tar.gz": "Cafe\u0301"}),
    Case("name in NFC and NFD", "both inside", ["upload", "card"], 0, ["✓"],
         folder("card", {"Cafe\u0301": b"1", "Caf\u00e9": b"2"}), {"card.tar.gz": "card"}),
    Case("name with terminal escape sequences", "", ["upload", "\x1b[2Jred"], 4, ["\\x1b[2Jred", "cannot be stored"],
         file("\x1b[2Jred")),
    Case("name with terminal escape sequences", "missing", ["upload", "\x1b]0;x\x07"],
         4, ["'\\x1b]0;x\\x07' not found in /"]),
    Case("name with terminal escape sequences", "skipped inside", ["upload", "card"],
         0, ["card/\\x1b[31m is skipped: a named pipe"],
         together(folder("card"), fifo("card/\x1b[31m")), {"card.tar.gz": "card"}, leaves_out=["\x1b[31m"]),
    Case("name with terminal escape sequences", "with --as", ["upload", "\x1b[31m", "--as", "red"],
         0, ["✓ \\x1b[31m"],
         file("\x1b[31m"), {"red.tar.gz": "\x1b[31m"}),
    Case("path over 4,000 bytes", "named", ["upload", "d/" * 2500 + "x"], 4, ["cannot be a file name"]),
    Case("empty file", "", ["upload", "nothing"], 0, ["✓ nothing"],
         file("nothing", b""), {"nothing.tar.gz": "nothing"}),
    Case("empty directory", "", ["upload", "card"], 0, ["✓ card"],
         lambda work: (work / "card").mkdir(), {"card.tar.gz": "card"}),
    Case("symlink loop", "named", ["upload", "a"], 4, ["'a' is a link that leads back to itself"],
         together(link("a", "b"), link("b", "a"))),
    Case("symlink loop", "inside", ["upload", "card"], 0, ["✓"],
         together(folder("card"), link("card/a", "b"), link("card/b", "a"), link("card/up", "../card")),
         {"card.tar.gz": "card"}),
    Case("dangling link", "named", ["upload", "latest"], 4, ["'latest' is a link to something that does not exist."],
         link("latest", "gone")),
    Case("dangling link", "inside", ["upload", "card"], 0, ["✓"],
         together(folder("card"), link("card/a", "gone")), {"card.tar.gz": "card"}),
    Case("link out of the tree", "named", ["upload", "latest"], 0, ["✓ latest"],
         together(folder("shoot-9"), link("latest", "shoot-9")), {"latest.tar.gz": "latest"}),
    Case("link out of the tree", "inside", ["upload", "card"], 0, ["✓"],
         together(folder("card"), link("card/out", "../.."), link("card/hosts", "/etc/hosts")),
         {"card.tar.gz": "card"}),
    Case("hard links", "inside", ["upload", "card"], 0, ["✓"],
         together(folder("card", {"a": text(5_000)}), lambda work: os.link(work / "card" / "a", work / "card" / "b")),
         {"card.tar.gz": "card"}),
    Case("hard links", "one of two outside", ["upload", "card"], 0, ["✓"],
         together(folder("card", {"a": text(5_000)}), lambda work: os.link(work / "card" / "a", work / "b")),
         {"card.tar.gz": "card"}),
    Case("two targets with one base name", "", ["upload", "a/clip", "b/clip"],
         3, ["would be stored under the same name as", "--as NAME"],
         together(folder("a"), folder("b")), {"clip.tar.gz": "a/clip"}),
    Case("two targets with one base name", "one target twice", ["upload", "clip", "./clip"],
         0, ["named more than once"],
         file("clip"), {"clip.tar.gz": "clip"}),
    Case("./all", "", ["upload", "./all"], 0, ["✓ all"], together(file("all"), file("other")), {"all.tar.gz": "all"}),
    Case("./all", "all, with litter, a pipe and a thing named all", ["upload", "all"],
         0, ["tape is skipped: a named pipe", "2 uploaded"],
         together(litter, fifo("tape"), file("all"), file("other")), {"all.tar.gz": "all", "other.tar.gz": "other"}),
    Case("x.tar.gz there and not ours", "", ["upload", "x"], 4,
         ["x.tar.gz exists already and mgmt did not make it", "Move it away", "--archive-dir"],
         together(file("x"), file("x.tar.gz", b"somebody's"))),
    Case("x.tar.gz there and not ours", "as a folder", ["upload", "x"], 4, ["exists already", "--archive-dir"],
         together(file("x"), folder("x.tar.gz"))),
    Case("x.tar.gz there and not ours", "uploaded itself", ["upload", "x.tar.gz"], 0, ["✓ x.tar.gz"],
         file("x.tar.gz", b"somebody's"), {"x.tar.gz.tar.gz": "x.tar.gz"}),
    Case("read-only folder", "", ["upload", "card/clip"], 0,
         ["cannot be written to (Permission denied)", "are made in", "✓ card/clip"],
         together(folder("card"), mode("card", 0o555)), {"clip.tar.gz": "card/clip"}, is_ordinary_user=True),
    Case("read-only folder", "named for archives", ["upload", "clip", "--archive-dir", "card"], 9,
         ["cannot be written to", "Permission denied", "Make the folder writable", "--archive-dir"],
         together(file("clip"), folder("card"), mode("card", 0o555)), is_ordinary_user=True),
    Case("read-only folder", "uploaded whole", ["upload", "card"], 0, ["✓ card"],
         together(folder("card"), mode("card", 0o555)), {"card.tar.gz": "card"}, is_ordinary_user=True),
    Case("1 target", "", ["upload", "clip.mp4"], 0, ["✓ clip.mp4 → s3://", "100 kB"],
         file("clip.mp4", noise(100_000)), {"clip.mp4.tar.gz": "clip.mp4"}),
    Case("0 targets", "", ["upload"], 2, ["Missing argument 'TARGET... | all'", "--help"]),
    Case("0 targets", "all in an empty folder", ["upload", "all"], 0, ["There is nothing to upload here"]),
    Case("0 targets", "all in a folder of litter", ["upload", "all"], 0, ["There is nothing to upload here"], litter),
)  # fmt: skip
def test_input(desk, case):
    desk.try_case(case)


@needs_root
@each(
    Case("device", "inside", ["upload", "card"], 0, ["card/null is skipped: a device"],
         together(folder("card"), device("card/null")), {"card.tar.gz": "card"}, leaves_out=["null"]),
)  # fmt: skip
def test_input_of_the_superuser(desk, case):
    desk.try_case(case)


@pytest.mark.entry("path over 4,000 bytes", "inside")
def test_a_tree_deeper_than_the_system_takes_as_one_path(desk):
    (desk.work / "card").mkdir()
    path = b"card/" + deep_file(desk.work / "card", b"bottom")

    def compare(archive, *_):
        """GNU tar cannot make such a path either; it can list it and read it."""
        listed = run_tool("tar", "-tf", str(archive)).stdout.splitlines()
        assert len(listed) == len(path.split(b"/"))
        assert listed[-1] == path
        assert run_tool("tar", "-xOf", str(archive), os.fsdecode(path)).stdout == b"bottom"

    desk.compare = compare
    run = desk.run("upload", "card")
    desk.check(run, 0, ["✓ card"], stores={"card.tar.gz": "card"})
