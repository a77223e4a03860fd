"""Faults are injected into cards, reads, records, objects and indexes: `mgmt safe` never says yes for one of them.

`make test` injects 60. The long form injects as many as it is told, and others with another seed:
`MGMT_SAFE_FAULTS=1000 MGMT_SAFE_SEED=7 .venv/bin/python -m pytest tests/faults/test_safe.py -k injected`
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from mgmt_contract.names import index_key
from mgmt_contract.records import UploadRecord
from support.fakes import crc64nvme
from support.forger import forge
from support.reads import after_each_read
from support.safe_world import Packed, Said, World, pack_source
from support.trees import noise

FAULTS = int(os.environ.get("MGMT_SAFE_FAULTS", "60"))
SEED = int(os.environ.get("MGMT_SAFE_SEED", "1"))
SIZES = (0, 1, 511, 4096, 4097, 70_000, 200_000)


class Template(NamedTuple):
    """A card, made once, and what was packed of it in several ways."""

    card: Path
    whole: Packed
    first_half: Packed
    second_half: Packed
    renamed: Packed


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Template:
    folder = tmp_path_factory.mktemp("template")
    card = folder / "CARD"
    for number, size in enumerate(SIZES * 2):
        path = card / f"{100 + number % 3}CANON" / f"C{number:04}.MP4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(size, seed=number + 1))
    (card / "INDEX.TXT").write_bytes(b"a file beside the folders")
    (card / "EMPTY").mkdir()
    (card / "LATEST").symlink_to("100CANON/C0000.MP4")
    os.link(card / "101CANON" / "C0004.MP4", card / "101CANON" / "TWIN.MP4")
    (card / ".DS_Store").write_bytes(b"litter")
    return Template(
        card,
        pack_source(card, folder),
        pack_source(card, folder, excludes=["100CANON", "INDEX.TXT"]),
        pack_source(card, folder, excludes=["10[12]CANON", "EMPTY", "LATEST"]),
        pack_source(card, folder, name="camera-a"),
    )


@dataclass
class Scene:
    """One run: a card that is all stored, until a fault is injected."""

    world: World
    card: Path
    chooser: random.Random
    uploads: list[UploadRecord]
    needed: UploadRecord
    """One without which some file is not stored."""
    packed: Packed
    """What was packed for it."""
    against: tuple[str, ...]
    reads_back: bool = False

    def files(self) -> list[Path]:
        """The files of the card that carry bytes of their own."""
        return sorted(
            path for path in self.card.rglob("*.*") if path.is_file() and not path.is_symlink() and path.name[0] != "."
        )

    def file(self, *, has_bytes: bool = True) -> Path:
        """One of them."""
        return self.chooser.choice([path for path in self.files() if path.stat().st_size or not has_bytes])

    def ask(self) -> Said:
        return self.world.ask(self.card, against=self.against, reads_back=self.reads_back)[0]


def make_scene(template: Template, folder: Path, chooser: random.Random) -> Scene:
    card = folder / "CARD"
    shutil.copytree(template.card, card, symlinks=True)
    (card / "101CANON" / "TWIN.MP4").unlink()
    os.link(card / "101CANON" / "C0004.MP4", card / "101CANON" / "TWIN.MP4")
    world = World(folder)
    has_index = chooser.random() < 0.5
    layout = chooser.choice(["whole", "whole", "halves", "as", "listed"])
    if layout == "halves":
        uploads = [
            world.upload(template.first_half, prefix="day1", has_index=has_index),
            world.upload(
                template.second_half, prefix="day2", has_index=has_index, person=chooser.choice(["ada", "bob"])
            ),
        ]
        needed = chooser.randrange(2)
        packed = (template.first_half, template.second_half)[needed]
        return Scene(world, card, chooser, uploads, uploads[needed], packed, ())
    if layout == "as":
        upload = world.upload(template.renamed, has_index=has_index)
        return Scene(world, card, chooser, [upload], upload, template.renamed, ("camera-a",))
    upload = world.upload(template.whole, has_index=has_index)
    if layout == "listed":  # the content digest is not enough: the upload holds more than the card
        shutil.rmtree(card / "EMPTY")
    return Scene(world, card, chooser, [upload], upload, template.whole, ())


# --- what may go wrong ---------------------------------------------------------------------------------

Fault = Callable[[Scene, pytest.MonkeyPatch], None]
KINDS: dict[str, Fault] = {}


def kind(fault: Fault) -> Fault:
    KINDS[fault.__name__] = fault
    return fault


@kind
def a_bit_flipped_on_one_read(scene, monkeypatch):
    def flip(view, got):
        bit = scene.chooser.randrange(8 * got)
        view[bit // 8] ^= 1 << bit % 8

    on_one_read(scene, monkeypatch, flip)


@kind
def an_error_of_one_read(scene, monkeypatch):
    def fail(*_):
        raise OSError(scene.chooser.choice([errno.EIO, errno.ENODEV, errno.ENXIO]), "the medium fails")

    on_one_read(scene, monkeypatch, fail)


@kind
def one_read_that_gives_less(scene, monkeypatch):
    on_one_read(scene, monkeypatch, lambda _, got: scene.chooser.randrange(got))


@kind
def a_file_changed(scene, monkeypatch):
    change(scene.file(), scene.chooser)


@kind
def a_file_changed_with_its_times_put_back(scene, monkeypatch):
    path = scene.file()
    status = path.stat()
    change(path, scene.chooser)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@kind
def a_file_truncated(scene, monkeypatch):
    path = scene.file()
    os.truncate(path, scene.chooser.randrange(path.stat().st_size))


@kind
def a_file_grown(scene, monkeypatch):
    with scene.file(has_bytes=False).open("ab") as file:
        file.write(bytes(scene.chooser.randrange(1, 5_000)))


@kind
def a_file_added(scene, monkeypatch):
    (scene.chooser.choice(folders(scene)) / "NEW.MP4").write_bytes(noise(scene.chooser.choice(SIZES), seed=99))


@kind
def a_folder_added(scene, monkeypatch):
    (scene.chooser.choice(folders(scene)) / "NEW").mkdir()


@kind
def a_link_added(scene, monkeypatch):
    (scene.chooser.choice(folders(scene)) / "NEW").symlink_to("INDEX.TXT")


@kind
def a_link_turned(scene, monkeypatch):
    (scene.card / "LATEST").unlink()
    (scene.card / "LATEST").symlink_to("100CANON/C0003.MP4")


@kind
def a_hard_link_that_became_another_file(scene, monkeypatch):
    (scene.card / "101CANON" / "TWIN.MP4").unlink()
    (scene.card / "101CANON" / "TWIN.MP4").write_bytes(noise(70_000, seed=98))


@kind
def a_file_renamed(scene, monkeypatch):
    path = scene.file(has_bytes=False)
    path.rename(path.with_name(scene.chooser.choice([path.name.lower(), f"{path.name} ", "0.MP4"])))


@kind
def two_files_swapped(scene, monkeypatch):
    first, second = scene.chooser.sample([path for path in scene.files() if path.stat().st_nlink == 1], 2)
    if first.read_bytes() == second.read_bytes():
        first.write_bytes(first.read_bytes() + b"x")  # swapping them would change nothing
        return
    first.rename(scene.card / "swap")
    second.rename(first)
    (scene.card / "swap").rename(second)


@kind
def a_file_that_became_a_link_or_a_folder(scene, monkeypatch):
    path = scene.file(has_bytes=False)
    path.unlink()
    if scene.chooser.random() < 0.5:
        path.mkdir()
    else:
        path.symlink_to("elsewhere")


@kind
def a_special_file(scene, monkeypatch):
    path = scene.chooser.choice(folders(scene)) / "pipe"
    if scene.chooser.random() < 0.5:
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as made:
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                made.bind(f"/proc/self/fd/{folder}/pipe")  # the path itself may be too long for a socket
            finally:
                os.close(folder)


@kind
def a_file_that_changes_during_the_reading(scene, monkeypatch):
    path = scene.file()
    during_the_reading(scene, monkeypatch, lambda: change(path, scene.chooser))


@kind
def a_file_that_comes_during_the_reading(scene, monkeypatch):
    path = scene.chooser.choice(folders(scene)) / scene.chooser.choice(["0", "ZZZ"])
    during_the_reading(scene, monkeypatch, lambda: path.write_bytes(b"new"))


@kind
def a_file_that_goes_during_the_reading(scene, monkeypatch):
    path = scene.file()
    number = path.stat().st_ino

    def remove(descriptor):
        if os.fstat(descriptor).st_ino == number:
            path.unlink(missing_ok=True)

    on_every_read(monkeypatch, remove)


@kind
def a_file_cut_during_the_reading(scene, monkeypatch):
    path = scene.file()
    during_the_reading(scene, monkeypatch, lambda: os.truncate(path, 0))


@kind
def a_card_pulled_out_during_the_reading(scene, monkeypatch):
    def pull():
        scene.card.rename(scene.card.with_name("gone"))
        if scene.chooser.random() < 0.5:
            scene.card.mkdir()

    during_the_reading(scene, monkeypatch, pull)


@kind
def an_object_altered(scene, monkeypatch):
    def alter():
        body = scene.world.objects.read(scene.needed.s3_object_key)
        at = scene.chooser.randrange(len(body))
        restate(scene, body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])

    sometime(scene, alter)


@kind
def an_object_cut(scene, monkeypatch):
    sometime(scene, lambda: restate(scene, scene.world.objects.read(scene.needed.s3_object_key)[:-1]))


@kind
def an_object_destroyed(scene, monkeypatch):
    sometime(scene, lambda: scene.world.objects.destroy(scene.needed.s3_object_key, scene.needed.version_id))


@kind
def an_object_under_a_delete_marker(scene, monkeypatch):
    sometime(scene, lambda: scene.world.objects.delete(scene.needed.s3_object_key))


@kind
def an_object_written_over(scene, monkeypatch):
    sometime(scene, lambda: scene.world.objects.place(scene.needed.s3_object_key, b"other"))


@kind
def an_upload_deleted(scene, monkeypatch):
    now = datetime.now(UTC)
    sometime(scene, lambda: scene.world.rewrite(scene.needed, deleted_at=now, deleted_by="ada", recoverable_until=now))


@kind
def a_record_altered(scene, monkeypatch):
    changes = scene.chooser.choice(
        [
            {"crc64nvme": "AAAAAAAAAAA="},
            {"version_id": "version-999"},
            {"content_digest": "blake3:" + "0" * 64, "index_size": None},
        ]
    )
    sometime(scene, lambda: scene.world.rewrite(scene.needed, **changes), last=1)


@kind
def an_index_of_just_this_card_beside_another_archive(scene, monkeypatch):
    """The index lists a changed card; but the archive, as recorded, does not hold it."""
    change(scene.file(), scene.chooser)
    lying = pack_source(scene.card, scene.world.folder)
    scene.world.put_index(scene.needed, lying.index)


@kind
def an_index_replaced_past_the_service(scene, monkeypatch):
    change(scene.file(), scene.chooser)
    lying = pack_source(scene.card, scene.world.folder)
    scene.world.put_index(scene.needed, scene.packed.index)
    scene.world.objects.place(index_key("", scene.needed.operation_id), lying.index)


@kind
def a_damaged_index_and_a_changed_file(scene, monkeypatch):
    change(scene.file(), scene.chooser)
    at = scene.chooser.randrange(len(scene.packed.index))
    damaged = scene.packed.index[:at] + bytes([scene.packed.index[at] ^ 1]) + scene.packed.index[at + 1 :]
    scene.world.put_index(scene.needed, damaged)


@kind
def stored_bytes_forged_under_the_same_checksum(scene, monkeypatch):
    """Size and CRC64NVME are the recorded ones, so that only reading the bytes back shows it."""
    scene.reads_back = True
    body = scene.world.objects.read(scene.needed.s3_object_key)
    middle = len(body) // 2
    forged = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
    forged = forge(forged, crc64nvme(body))
    restate(scene, forged)


@kind
def a_lie_about_the_content(scene, monkeypatch):
    """Another person's client has reported the card's content digest for an archive of something else."""
    scene.reads_back = True
    (scene.world.folder / "other").mkdir()
    (scene.world.folder / "other" / "clip").write_bytes(b"other")
    other = pack_source(scene.world.folder / "other", scene.world.folder, name=scene.packed.name)
    for upload in scene.uploads:
        scene.world.objects.destroy(upload.s3_object_key, upload.version_id)
    claimed = replace(other.content, content_digest=scene.packed.content.content_digest)
    scene.world.upload(replace(other, content=claimed), prefix="lie", person="mallory")


def seeded(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311  faults, not secrets


def change(path: Path, chooser: random.Random) -> None:
    with path.open("r+b") as file:
        at = chooser.randrange(path.stat().st_size)
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << chooser.randrange(8)]))


def folders(scene: Scene) -> list[Path]:
    return sorted(path for path in [scene.card, *scene.card.rglob("*CANON")] if path.is_dir())


def restate(scene: Scene, body: bytes) -> None:
    """Put other bytes into the version that was stored, as the storage would state them."""
    objects, key = scene.world.objects, scene.needed.s3_object_key
    objects.versions[key] = [
        (stored, old) if stored.version_id != scene.needed.version_id else (stored, body)
        for stored, old in objects.versions[key]
    ]
    objects.state(key, scene.needed.version_id, size=len(body), crc64nvme=crc64nvme(body))


def sometime(scene: Scene, act: Callable[[], object], *, last: int = 2) -> None:
    """Do it before the service is asked at all, or before one of its checks."""
    when = scene.chooser.choice([None, *range(last + 1)])
    if when is None:
        act()
        return
    scene.world.before_check = lambda number: act() if number == when else None


def on_one_read(scene: Scene, monkeypatch: pytest.MonkeyPatch, act: Callable[[memoryview, int], int | None]) -> None:
    """Let something happen to one of the reads that give bytes."""
    chosen = scene.chooser.randrange(len([path for path in scene.files() if path.stat().st_size]) - 1)
    count = iter(range(1_000_000))

    def happen(_descriptor: int, view: memoryview, got: int) -> int:
        if not got or next(count) != chosen:
            return got
        told = act(view, got)
        return got if told is None else told

    after_each_read(monkeypatch, happen)


def on_every_read(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], object]) -> None:
    """Let something happen after each read of an open file."""

    def happen(descriptor: int, _view: memoryview, got: int) -> int:
        act(descriptor)
        return got

    after_each_read(monkeypatch, happen)


def during_the_reading(scene: Scene, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let it happen right after one of the reads."""
    on_one_read(scene, monkeypatch, lambda *_: (act(), None)[1])


# --- the runs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_no_fault_of_any_kind_is_called_safe(name, template, tmp_path, monkeypatch):
    scene = make_scene(template, tmp_path, seeded(f"{SEED} {name}"))
    KINDS[name](scene, monkeypatch)
    said = scene.ask()
    assert not said.is_safe
    assert said.unsafe


def test_of_many_injected_faults_none_is_called_safe_and_without_one_all_is(template, tmp_path):
    called_safe, called_unsafe, injected = [], [], Counter()
    for number in range(FAULTS):
        chooser = seeded(f"{SEED} {number}")
        name = chooser.choice([*KINDS])
        folder = tmp_path / str(number)
        folder.mkdir()
        scene = make_scene(template, folder, chooser)
        if number % 5 == 0:
            untouched = scene.ask()
            if not untouched.is_safe:
                called_unsafe.append((number, untouched.unsafe))
        with pytest.MonkeyPatch.context() as patched:
            KINDS[name](scene, patched)
            injected[name] += 1
            if scene.ask().is_safe:
                called_safe.append((number, name))
        shutil.rmtree(folder)
    assert called_safe == [], injected
    assert called_unsafe == []
