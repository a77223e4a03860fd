"""Sources, disks and folders that do not stay what they are while mgmt is at them."""

import contextlib
import os
import subprocess

import pytest

from support.inputs import finish, see
from support.local_backend import wait_until
from support.trees import noise, small_disk

MB = 1_000_000


def keep_doing(process, change):
    """Change something again and again for as long as a command runs."""
    while process.poll() is None:
        change()
    return finish(process)


@pytest.fixture
def clip(desk):
    path = desk.work / "clip.mov"
    path.write_bytes(noise(24 * MB))
    return path


def unfinished(folder):
    """Tell whether an archive is being packed in a folder."""
    return next(folder.glob(".*.part"), None) is not None


@pytest.mark.entry("file that grows while read")
def test_a_file_that_grows_while_it_is_read(desk, clip):
    with clip.open("ab") as file:

        def grow():
            file.write(b"x")
            file.flush()

        run = keep_doing(desk.begin("upload", "clip.mov"), grow)
    desk.check(run, 4, ["'clip.mov'", "ait until nothing writes there"], changed=["clip.mov"])


@pytest.mark.entry("file that shrinks while read")
def test_a_file_that_shrinks_while_it_is_read(desk, clip):
    size = clip.stat().st_size

    def shrink():
        nonlocal size
        size -= 1
        os.truncate(clip, size)

    run = keep_doing(desk.begin("upload", "clip.mov"), shrink)
    desk.check(run, 4, ["'clip.mov'", "ait until nothing writes there"], changed=["clip.mov"])


@pytest.mark.entry("file that is replaced while read")
def test_a_file_that_is_replaced_while_it_is_read(desk, clip):
    other, third = desk.laptop.folder / "other", desk.laptop.folder / "third"
    other.write_bytes(noise(24 * MB, seed=2))

    def replace():
        os.link(clip, third)
        other.replace(clip)
        third.replace(other)

    run = keep_doing(desk.begin("upload", "clip.mov"), replace)
    desk.check(run, 4, ["clip.mov", "run the same command again"], changed=["clip.mov"])


@pytest.fixture
def disk(desk):
    """A disk of 8 MiB in the work folder."""
    with small_disk(desk.work / "disk", 8) as mounted:
        if mounted is None:
            pytest.skip("this system lets nobody mount a disk here")
        yield mounted


@pytest.mark.entry("full disk", "beside the source")
def test_a_disk_that_has_no_room_for_the_archive(desk, disk):
    (disk / "clip.mov").write_bytes(noise(6 * MB))
    run = desk.run("upload", "disk/clip.mov")
    words = ["may need", "are free beside it: it is made in", "✓ disk/clip.mov"]
    desk.check(run, 0, words, stores={"clip.mov.tar.gz": "disk/clip.mov"})


@pytest.mark.entry("full disk", "beside the source, and no room in the cache folder either")
def test_two_disks_that_have_no_room_for_the_archive(desk, disk):
    (disk / "clip.mov").write_bytes(noise(6 * MB))
    run = desk.run("upload", "disk/clip.mov", environment={"XDG_CACHE_HOME": str(disk / "cache")})
    desk.check(run, 9, ["may need", "are free beside it", "is full", "Free that much", "--archive-dir"])


@pytest.mark.entry("full disk", "of the state folder")
def test_a_disk_that_has_no_room_for_the_journal(desk, disk):
    (desk.work / "clip.mov").write_bytes(b"x")
    state = disk / "state"
    state.mkdir()
    with contextlib.suppress(OSError), (disk / "fill").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    desk.laptop.environment["MGMT_STATE_DIR"] = str(state)
    run = desk.run("upload", "clip.mov")
    desk.check(
        run, 9, ["state", "cannot be used", "Free some space", "MGMT_STATE_DIR"], changed=["disk"], is_resumable=True
    )


@pytest.mark.entry("full disk", "with room for each archive, not for all")
def test_a_disk_that_has_room_for_a_few_archives_only(desk, disk):
    names = [f"{number}.jpg" for number in range(8)]
    for number, name in enumerate(names):
        (desk.work / name).write_bytes(noise(3 * MB, seed=number))
    run = desk.run("upload", *names, "--archive-dir", "disk")
    desk.check(run, 0, ["✓ 0.jpg", "✓ 7.jpg"], stores={f"{name}.tar.gz": name for name in names})


@pytest.mark.entry("full disk", "with the archive elsewhere")
def test_an_archive_that_is_made_on_another_disk(desk, disk):
    (disk / "clip.mov").write_bytes(noise(6 * MB))
    (desk.work / "roomy").mkdir()
    run = desk.run("upload", "disk/clip.mov", "--archive-dir", "roomy")
    desk.check(run, 0, ["✓ disk/clip.mov"], stores={"clip.mov.tar.gz": "disk/clip.mov"})


@pytest.mark.entry("vanished mount", "before the start")
def test_a_disk_that_was_pulled_out(desk, disk):
    (disk / "clip.mov").write_bytes(b"x")
    subprocess.run(["umount", disk], check=True)
    try:
        run = desk.run("upload", "disk/clip.mov")
        desk.check(run, 4, ["'disk/clip.mov' not found in /"])
    finally:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=True)


@pytest.mark.entry("vanished mount", "while it is read")
def test_a_disk_that_is_pulled_out_while_it_is_read(desk, disk):
    with (disk / "clip.mov").open("wb") as file:
        file.truncate(1 << 31)  # sparse: takes seconds and no room
    # Beside the source: the cache folder has no more room.
    process = desk.begin("upload", "disk/clip.mov", environment={"XDG_CACHE_HOME": str(disk / "cache")})
    wait_until(lambda: unfinished(disk))
    subprocess.run(["umount", "--lazy", disk], check=True)
    try:
        words = ["cannot be written to", "--archive-dir"]
        desk.check(finish(process), 9, words, changed=["disk"], is_resumable=True)
    finally:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=True)


@pytest.mark.entry("vanished mount", "with the current folder on it")
def test_a_current_folder_that_is_gone(desk):
    gone = desk.work / "gone"
    gone.mkdir()
    with contextlib.chdir(gone):
        gone.rmdir()
        process = desk.begin("upload", "all", cwd=None)
    run = finish(process)
    desk.check(run, 9, ["current directory cannot be used", "Change to a folder that exists"])


@pytest.mark.entry("our own left-over", "of a killed run")
def test_what_a_killed_run_has_left_is_gone_after_the_next(desk):
    with (desk.work / "clip.mov").open("wb") as file:
        file.truncate(1 << 36)  # sparse: takes minutes, of which it gets none
    killed = desk.begin("upload", "clip.mov")
    wait_until(lambda: unfinished(desk.work))
    killed.kill()
    finish(killed)
    assert unfinished(desk.work)
    os.truncate(desk.work / "clip.mov", 1000)
    run = desk.run("upload", "clip.mov")
    left = [path.name for path in desk.work.iterdir() if path.name.endswith(".part")]
    assert not left
    desk.before = see(desk.work)
    desk.check(run, 0, ["✓ clip.mov"], stores={"clip.mov.tar.gz": "clip.mov"})


@pytest.mark.entry("our own left-over", "inside a directory, and in `all`")
def test_unfinished_archives_are_never_uploaded(desk):
    (desk.work / "card").mkdir()
    for folder in (desk.work, desk.work / "card"):
        (folder / ".clip.tar.gz.mgmt-0f12ab34.part").write_bytes(b"left")
    run = desk.run("upload", "all")
    left_out = [".clip.tar.gz.mgmt-0f12ab34.part"]
    desk.check(
        run, 0, ["is skipped: an unfinished archive of mgmt"], stores={"card.tar.gz": "card"}, leaves_out=left_out
    )


@pytest.mark.entry("our own left-over", "an archive kept on request, and `all`")
def test_an_archive_kept_on_request_is_not_uploaded_by_all(desk):
    (desk.work / "clip").write_bytes(b"x")
    assert desk.run("upload", "--keep-archive", "clip").exit_code == 0
    run = desk.run("upload", "all")
    desk.check(run, 0, ["clip is already there as"], stores={"clip.tar.gz": "clip"}, is_resumable=True)
