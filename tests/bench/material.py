"""What is packed and carried: made from a seed, the same on every machine.

    python -m bench.material make FOLDER SEED SCALE
    python -m bench.material empty FOLDER COUNT

Runs as a process of its own, so that the measuring one stays small (see `bench.processes`).
"""

from __future__ import annotations

import array
import itertools
import math
import os
import random
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MIB: Final = 1024 * 1024
PIECE_BYTES: Final = 64 * 1024
"""Text and samples are made once; what is written are such pieces of them, from anywhere, in random order. Deflate
looks back half as far, so to it a piece that comes again is as good as new."""
_POOL_BYTES: Final = 16 * MIB
_LETTERS: Final = "etaoinshrdlucmfwypvbgkqjxz"
_WORDS: Final = 3_000
_LINES_REMEMBERED: Final = 400
_COMES_AGAIN: Final = 0.35
_DEPTH_MAX: Final = 6
_SAMPLES_PER_SECOND: Final = 48_000
_CLIP_BYTES: Final = 48 * MIB
_FILES_PER_FOLDER: Final = 100


@dataclass(frozen=True)
class Scale:
    """How much there is of everything."""

    footage_bytes: int
    text_bytes: int
    sound_bytes: int
    mixed_bytes: int
    tree_files: int
    photos: int
    far_clip_bytes: int
    """Footage for the slowest link."""
    sparse_bytes: int
    empty_files: int


SCALES: Final = {
    "full": Scale(1024 * MIB, 256 * MIB, 128 * MIB, 1024 * MIB, 20_000, 1_000, 256 * MIB, 8 * 1024 * MIB, 1_000_000),
    "quick": Scale(64 * MIB, 16 * MIB, 4 * MIB, 32 * MIB, 1_000, 50, 24 * MIB, 512 * MIB, 20_000),
    "tiny": Scale(4 * MIB, MIB, MIB // 4, 4 * MIB, 60, 6, MIB, 16 * MIB, 50),
}
PHOTO_BYTES: Final = 100_000


class Noise:
    """Bytes that do not shrink, as footage: a stream cipher's key stream."""

    def __init__(self, seed: int, name: str) -> None:
        # Only the process that makes the data loads the library.
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

        key = random.Random(f"{seed} {name}").randbytes(48)  # noqa: S311  data, not a secret
        self._stream = Cipher(ChaCha20(key[:32], key[32:]), mode=None).encryptor()

    def take(self, size_bytes: int) -> bytes:
        """Return the next bytes."""
        return self._stream.update(bytes(size_bytes))


class Pool:
    """Pieces of prepared bytes in a random order that the seed decides."""

    def __init__(self, prepared: bytes, seed: int, name: str) -> None:
        self._view = memoryview(prepared)
        self._chooser = random.Random(f"{seed} {name}")  # noqa: S311  likewise
        self._starts = range(len(prepared) - PIECE_BYTES + 1)

    def take(self, size_bytes: int) -> bytes:
        """Return bytes from pieces chosen anew."""
        starts = self._chooser.choices(self._starts, k=-(-size_bytes // PIECE_BYTES))
        return b"".join(self._view[start : start + PIECE_BYTES] for start in starts)[:size_bytes]


Source = Noise | Pool


def prepare_text(seed: int, size_bytes: int = _POOL_BYTES) -> bytes:
    """Make lines as in sources, XML or subtitles: indented, a third of them an earlier one with a word changed.

    Deflate finds it as hard as Python's own sources: level 9 leaves a quarter, at a quarter of level 6's speed.
    """
    chooser = random.Random(f"{seed} words")  # noqa: S311  data, not a secret
    words = ["".join(chooser.choices(_LETTERS, k=chooser.randint(2, 10))) for _ in range(_WORDS)]
    weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(_WORDS)))
    lines: list[bytes] = []
    recent: deque[list[str]] = deque(maxlen=_LINES_REMEMBERED)
    made_bytes = depth = 0
    while made_bytes < size_bytes:
        depth = min(_DEPTH_MAX, max(0, depth + chooser.choice((-1, 0, 0, 1))))
        if recent and chooser.random() < _COMES_AGAIN:
            said = list(chooser.choice(recent))
            said[chooser.randrange(len(said))] = chooser.choices(words, cum_weights=weights)[0]
        else:
            said = chooser.choices(words, cum_weights=weights, k=chooser.randint(2, 9))
        recent.append(said)
        lines.append(("    " * depth + " ".join(said) + "\n").encode())
        made_bytes += len(lines[-1])
    return b"".join(lines)[:size_bytes]


def prepare_sound(seed: int, size_bytes: int = _POOL_BYTES) -> bytes:
    """Make 16-bit samples: three tones that swell, and the hiss of a room."""
    chooser = random.Random(f"{seed} sound")  # noqa: S311  likewise
    tones = [(chooser.uniform(80, 900) * math.tau / _SAMPLES_PER_SECOND, 2500 / (n + 1)) for n in range(3)]
    hiss = array.array("h", Noise(seed, "hiss").take(size_bytes // 2 * 2))
    samples = array.array("h")
    for index, value in enumerate(hiss):
        swell = 1 + math.sin(index / 30_000)
        samples.append(int(swell * sum(height * math.sin(index * step) for step, height in tones)) + (value >> 7))
    return samples.tobytes()


@dataclass(frozen=True)
class Material:
    """Where everything lies."""

    root: Path

    @property
    def footage(self) -> Path:
        """One file of noise."""
        return self.root / "footage.mov"

    @property
    def text(self) -> Path:
        """One file of text."""
        return self.root / "text.log"

    @property
    def sound(self) -> Path:
        """One file of samples."""
        return self.root / "sound.wav"

    @property
    def far_clip(self) -> Path:
        """A shorter file of noise."""
        return self.root / "clip.mov"

    @property
    def tree(self) -> Path:
        """Many small files."""
        return self.root / "tree"

    @property
    def mixed(self) -> Path:
        """A project: clips, sound, and small files."""
        return self.root / "mixed"

    @property
    def photos(self) -> Path:
        """A folder of files of 100 kB that are uploaded one by one."""
        return self.root / "photos"

    @property
    def sparse(self) -> Path:
        """One large file that takes no room."""
        return self.root / "sparse.mov"

    @property
    def empty_files(self) -> Path:
        """A folder of very many empty files."""
        return self.root / "empty"


def make_material(root: Path, seed: int, scale: Scale) -> Material:
    """Make everything but the empty files; the folder must exist."""
    material = Material(root)
    text = Pool(prepare_text(seed, min(_POOL_BYTES, scale.text_bytes)), seed, "text")
    sound = Pool(prepare_sound(seed, min(_POOL_BYTES // 4, scale.sound_bytes)), seed, "sound")
    _write(material.footage, Noise(seed, "footage"), scale.footage_bytes)
    _write(material.far_clip, Noise(seed, "clip"), scale.far_clip_bytes)
    _write(material.text, text, scale.text_bytes)
    _write(material.sound, sound, scale.sound_bytes)
    _make_tree(material.tree, scale.tree_files, seed, text)
    _make_mixed(material.mixed, scale.mixed_bytes, seed, text, sound)
    _make_photos(material.photos, scale.photos, seed)
    with material.sparse.open("wb") as file:
        file.truncate(scale.sparse_bytes)
    return material


def make_empty_files(folder: Path, count: int) -> None:
    """Make very many empty files, a thousand to a folder."""
    for number in range(count):
        if number % 1000 == 0:
            inside = folder / f"{number // 1000:04d}"
            inside.mkdir(parents=True)
        os.close(os.open(f"{inside}/{number:07d}.tmp", os.O_CREAT | os.O_WRONLY, 0o600))


def _write(path: Path, source: Source, size_bytes: int) -> None:
    with path.open("wb") as file:
        for start in range(0, size_bytes, 4 * MIB):
            file.write(source.take(min(4 * MIB, size_bytes - start)))


def _make_tree(folder: Path, count: int, seed: int, text: Pool) -> None:
    """Make small files, about 10 kB each; a fifth of them are thumbnails, which do not shrink."""
    noise = Noise(seed, folder.name)
    for number, size_bytes in enumerate(_small_sizes(seed, count)):
        inside = folder / f"{number // _FILES_PER_FOLDER:04d}"
        inside.mkdir(parents=True, exist_ok=True)
        is_picture = number % 5 == 0
        source: Source = noise if is_picture else text
        (inside / f"{number:06d}.{'jpg' if is_picture else 'txt'}").write_bytes(source.take(size_bytes))


def _small_sizes(seed: int, count: int) -> Iterator[int]:
    chooser = random.Random(f"{seed} sizes")  # noqa: S311  likewise
    return (int(chooser.lognormvariate(8.8, 0.9)) for _ in range(count))


def _make_mixed(folder: Path, size_bytes: int, seed: int, text: Pool, sound: Pool) -> None:
    """Make a project: 70 % clips, 15 % sound, 15 % small files and text."""
    (folder / "clips").mkdir(parents=True)
    noise = Noise(seed, "mixed")
    clips_bytes, sound_bytes = size_bytes * 70 // 100, size_bytes * 15 // 100
    for number, start in enumerate(range(0, clips_bytes, _CLIP_BYTES)):
        _write(folder / "clips" / f"{number:03d}.mov", noise, min(_CLIP_BYTES, clips_bytes - start))
    _write(folder / "sound.wav", sound, sound_bytes)
    _write(folder / "edit.log", text, size_bytes * 10 // 100)
    _make_tree(folder / "cache", size_bytes * 5 // 100 // 10_000, seed, text)


def _make_photos(folder: Path, count: int, seed: int) -> None:
    folder.mkdir()
    noise = Noise(seed, "photos")
    for number in range(count):
        (folder / f"{number:04d}.jpg").write_bytes(noise.take(PHOTO_BYTES))


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make_material(Path(sys.argv[2]), int(sys.argv[3]), SCALES[sys.argv[4]])
    else:
        make_empty_files(Path(sys.argv[2]), int(sys.argv[3]))
