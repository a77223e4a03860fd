"""Inputs of media teams that the list did not have at first."""

import os
import subprocess

import pytest

from support.inputs import Case, each
from support.trees import many_files, noise, small_disk

ENTRY = "and what the list forgot"


def tree(*paths):
    """Make files, and the folders they are in."""

    def arrange(work):
        for path in paths:
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_bytes(path.encode())

    return arrange


CARD = tree("DCIM/100CANON/IMG_0001.CR3", "DCIM/101CANON/IMG_0001.CR3", "DCIM/.Trashes/x", "DCIM/._100CANON")


@each(
    Case(ENTRY, "a card's folder with a slash behind it", ["upload", "DCIM/"], 0, ["✓ DCIM"], CARD,
         {"DCIM.tar.gz": "DCIM"}, leaves_out=[".Trashes", ".Trashes/x", "._100CANON"]),
    Case(ENTRY, "two cards, both called DCIM", ["upload", "a/DCIM", "b/DCIM"], 3, ["same name", "--as NAME"],
         tree("a/DCIM/1", "b/DCIM/2"), {"DCIM.tar.gz": "a/DCIM"}),
    Case(ENTRY, "the current folder as .", ["upload", "."], 0, ["work.tar.gz"], tree("a/clip"), {"work.tar.gz": "."}),
    Case(ENTRY, "DCIM/100CANON/..", ["upload", "DCIM/100CANON/.."], 0, ["✓ DCIM"],
         tree("DCIM/100CANON/1"), {"DCIM.tar.gz": "DCIM"}),
    Case(ENTRY, "/", ["upload", "/"], 4, ["'/'", "--"]),
    Case(ENTRY, "names that differ only by case, in one folder", ["upload", "card"], 0, ["✓ card"],
         tree("card/Clip.mov", "card/clip.mov"), {"card.tar.gz": "card"}),
    Case(ENTRY, "names that differ only by case, in one command", ["upload", "Clip.mov", "clip.mov"], 3,
         ["differ only by capital and small letters", "--as NAME"],
         tree("Clip.mov", "clip.mov"), {"Clip.mov.tar.gz": "Clip.mov"}),
    Case(ENTRY, "a name with a colon and a question mark", ["upload", "A:1?.mov"], 0, ["✓ A:1?.mov"],
         tree("A:1?.mov"), {"A:1?.mov.tar.gz": "A:1?.mov"}),
    Case(ENTRY, "a name with a backslash, in a folder", ["upload", "card"], 0, ["✓ card"],
         tree("card/A\\1.mov"), {"card.tar.gz": "card"}),
    Case(ENTRY, "a name that ends with a space, and one with a dot", ["upload", "a ", "b."], 0, ["2 uploaded"],
         tree("a ", "b."), {"a .tar.gz": "a ", "b..tar.gz": "b."}),
    Case(ENTRY, "a name that ends with .tar.gz already", ["upload", "old.tar.gz"], 0, ["✓ old.tar.gz"],
         tree("old.tar.gz"), {"old.tar.gz.tar.gz": "old.tar.gz"}),
    Case(ENTRY, "a glob that the shell did not expand", ["upload", "*.mov"], 4, ["'*.mov' not found in /"]),
    Case(ENTRY, "an address of the bucket", ["upload", "s3://bucket/clip"],
         4, ["'s3://bucket/clip' not found in /"]),
    Case(ENTRY, "a system's litter, by name", ["upload", ".DS_Store"], 4, ["never uploaded", "Rename it"],
         tree(".DS_Store")),
    Case(ENTRY, "--as with a slash", ["upload", "clip", "--as", "a/b"], 2, ["'a/b' holds a slash", "prefix"],
         tree("clip")),
    Case(ENTRY, "read-only media: a card with its lock on", ["upload", "card"], 0, ["✓ card"],
         lambda work: (tree("card/clip")(work), (work / "card/clip").chmod(0o444), (work / "card").chmod(0o555)),
         {"card.tar.gz": "card"}, is_ordinary_user=True),
    Case(ENTRY, "an archive folder inside the source", ["upload", "card", "--archive-dir", "card"], 4,
         ["cannot be made inside that folder", "--archive-dir"], tree("card/clip")),
    Case(ENTRY, "an archive folder that is not there", ["upload", "clip", "--archive-dir", "nowhere"],
         2, ["there is no folder 'nowhere'"], tree("clip")),
    Case(ENTRY, "a folder in which everything is excluded", ["upload", "card", "--exclude", "cl*"], 0, ["✓ card"],
         tree("card/clip"), {"card.tar.gz": "card"}, leaves_out=["clip"]),
    Case(ENTRY, "a file from the year 1969 and one from 2242", ["upload", "card"], 0, ["✓ card"],
         lambda work: (tree("card/old", "card/new")(work), os.utime(work / "card/old", (-1, -1)),
                       os.utime(work / "card/new", (8**11 + 5, 8**11 + 5))), {"card.tar.gz": "card"}),
)  # fmt: skip
def test_input(desk, case):
    desk.try_case(case)


@pytest.fixture
def card(desk):
    """A disk of its own, as a card in a reader."""
    with small_disk(desk.work / "card", 8) as mounted:
        if mounted is None:
            pytest.skip("this system lets nobody mount a disk here")
        yield mounted


@pytest.mark.entry(ENTRY, "a card mounted read-only, as a whole")
def test_a_whole_card_that_is_mounted_read_only(desk, card):
    (card / "clip").write_bytes(noise(1000))
    subprocess.run(["mount", "-o", "remount,ro", card], check=True)
    run = desk.run("upload", "card")
    desk.check(run, 0, ["✓ card"], stores={"card.tar.gz": "card"})


@pytest.mark.entry(ENTRY, "a file on a card mounted read-only")
def test_a_file_on_a_card_that_is_mounted_read_only(desk, card):
    (card / "clip").write_bytes(noise(1000))
    subprocess.run(["mount", "-o", "remount,ro", card], check=True)
    run = desk.run("upload", "card/clip")
    words = ["cannot be written to (Read-only file system)", "archives of what lies in it are made in", "✓ card/clip"]
    desk.check(run, 0, words, stores={"clip.tar.gz": "card/clip"})


@pytest.mark.entry(ENTRY, "a folder of 5,000 files in one")
def test_a_folder_of_very_many_files(desk):
    many_files(desk.work / "stills", 5_000, per_folder=5_000)
    run = desk.run("upload", "stills")
    desk.check(run, 0, ["✓ stills"], stores={"stills.tar.gz": "stills"})
