"""The contenders: mgmt and what people use instead, each as a command to measure."""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bench.processes import BenchError, Command
from bench.stages import BUCKET, Stage

MGMT: Final = "mgmt"
ANCESTOR: Final = "w:gz + boto3"
AWS: Final = "tar czf + aws s3 cp"
RCLONE: Final = "tar | pigz -1 | rclone"
LEVEL_9: Final = "tarfile w:gz"
TAR: Final = "tar czf"
PIGZ: Final = "tar | pigz -1"
COPY: Final = "cp"
AWS_CP: Final = "aws s3 cp"
RCLONE_COPY: Final = "rclone copy"
RCLONE_SYNC: Final = "rclone copy, then sync"
RCLONE_TAR: Final = "rclone copy, then tar xf"
UNTAR: Final = "tar xf"
CAT: Final = "cat"
MGMT_ONLY: Final = "mgmt --only"
MGMT_SAFE: Final = "mgmt safe"

Make = Callable[[], Command]
"""Makes a contender's next command: fresh names each time."""

_ANCESTOR_SCRIPT: Final = Path(__file__).with_name("ancestor.py")
_PEERS_FOLDER: Final = Path(sys.prefix) / "bench"
_PIPE: Final = "set -o pipefail; "


@dataclass(frozen=True)
class Peers:
    """The programs of the others."""

    python: Path
    aws: Path
    rclone: Path
    pigz: Path


def find_peers() -> Peers:
    """Find the programs of the others.

    Raises:
        BenchError: If one is missing.
    """
    binaries = _PEERS_FOLDER / "bin"
    pigz = Path(shutil.which("pigz") or "pigz")
    peers = Peers(binaries / "python", binaries / "aws", binaries / "rclone", pigz)
    missing = [str(path) for path in vars(peers).values() if not path.exists()]
    if missing:
        raise BenchError(f"{', '.join(missing)}: not there. Run the benchmark with `make bench`, which installs them.")
    return peers


@dataclass(frozen=True)
class Arena:
    """Where the contenders work: the others' programs, and a folder for archives and journals."""

    peers: Peers
    folder: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def packers(self, source: Path) -> dict[str, Make]:
        """Return all that pack a source."""
        parent, name = shlex.quote(str(source.parent)), shlex.quote(source.name)
        return {
            MGMT: lambda: self.pack(source),
            LEVEL_9: lambda: self._making([self.peers.python, _ANCESTOR_SCRIPT, "pack", source, self.archive]),
            TAR: lambda: self._making(["tar", "czf", self.archive, "-C", source.parent, source.name]),
            PIGZ: lambda: self._making(self._shell(f"tar cf - -C {parent} {name} | {self.pigz} > {self._quoted}")),
            COPY: lambda: self._making(["cp", source, self.archive]),
        }

    def uploaders(self, source: Path, stage: Stage) -> dict[str, Make]:
        """Return all that pack and upload a source."""
        return {
            MGMT: lambda: self.upload(stage, source.parent, source.name),
            ANCESTOR: lambda: self._ancestor(stage, [source]),
            AWS: lambda: self._aws(stage, source),
            RCLONE: lambda: self._rclone(stage, source),
        }

    def batch_uploaders(self, folder: Path, stage: Stage) -> dict[str, Make]:
        """Return all that pack and upload each file of a folder on its own."""
        return {
            MGMT: lambda: self.upload(stage, folder, "all"),
            ANCESTOR: lambda: self._ancestor(stage, sorted(folder.iterdir())),
            AWS: lambda: self._aws_batch(stage, folder),
            RCLONE: lambda: self._rclone_batch(stage, folder),
        }

    def downloaders(self, key: str, stage: Stage) -> dict[str, Make]:
        """Return all that download an object."""
        url, name = shlex.quote(f"s3://{BUCKET}/{key}"), shlex.quote(key.rpartition("/")[2])
        return {
            MGMT: lambda: self.download(stage, key),
            AWS_CP: lambda: self._fetching(self._shell(f"{self._aws_cp(stage)} {url} ."), stage),
            RCLONE_COPY: lambda: self._fetching(self._shell(self._rclone_copy(key)), stage),
            RCLONE_SYNC: lambda: self._fetching(self._shell(f"{self._rclone_copy(key)} && sync {name}"), stage),
        }

    def extractors(self, key: str, stage: Stage, *, keeps: bool = False) -> dict[str, Make]:
        """Return all that download an archive and extract it; what they made can be kept to the end of the run."""
        name = shlex.quote(key.rpartition("/")[2])
        rclone_tar = self._shell(f"{self._rclone_copy(key)} && tar xf {name}")
        return {
            MGMT: lambda: self.download(stage, key, "--extract", keeps=keeps),
            RCLONE_TAR: lambda: self._fetching(rclone_tar, stage, keeps=keeps),
        }

    def unpackers(self, archive: Path, *, keeps: bool = False) -> dict[str, Make]:
        """Return all that extract an archive that is there; likewise."""
        unpack: list[str | Path] = [sys.executable, "-m", "bench.drivers", "unpack", archive, "extracted"]
        return {
            MGMT: lambda: self._filling(unpack, keeps=keeps),
            UNTAR: lambda: self._filling(["tar", "xf", archive], keeps=keeps),
        }

    def readers(self, source: Path, stage: Stage) -> dict[str, Make]:
        """Return all that read files from their disk; none is in the cache when they begin."""
        again = [sys.executable, "-m", "bench.drivers", "reread", str(source)]
        cat = self._shell(f"find {shlex.quote(str(source))} -type f -exec cat {{}} + > /dev/null")

        def uncached(command: Command) -> Command:
            return replace(command, before=lambda: drop_pages(source))

        return {
            MGMT_SAFE: lambda: uncached(self._mgmt(stage, ["safe", str(source)], self.folder, lambda: None)),
            MGMT: lambda: uncached(Command(again)),
            CAT: lambda: uncached(Command(cat)),
        }

    @property
    def archive(self) -> Path:
        """Where an archive is made that is measured and removed."""
        return self.folder / "made.tar.gz"

    @property
    def pigz(self) -> str:
        """The parallel compressor as shells name it."""
        return f"{shlex.quote(str(self.peers.pigz))} -1"

    # --- mgmt ------------------------------------------------------------------------------------------

    def pack(self, source: Path, *words: str) -> Command:
        """Pack with mgmt."""
        return self._making([sys.executable, "-m", "bench.drivers", "pack", source, self.archive, *words])

    def pack_to(self, source: Path, archive: Path) -> Command:
        """Pack with mgmt, and leave the archive there."""
        return Command([sys.executable, "-m", "bench.drivers", "pack", str(source), str(archive)])

    def upload(self, stage: Stage, folder: Path, target: str, *, prefix: str | None = None) -> Command:
        """Upload with mgmt, under a prefix and with a journal of its own: nothing is there already."""
        words = ["upload", target, "--prefix", prefix or self.fresh_prefix()]
        return self._mgmt(stage, words, folder, lambda: None)

    def download(self, stage: Stage, key: str, *words: str, keeps: bool = False) -> Command:
        """Download with mgmt into a folder of its own, which is removed."""
        filling = self._filling([], keeps=keeps)
        name = key.rpartition("/")[2].removesuffix(".tar.gz")
        assert filling.folder is not None
        return self._mgmt(stage, ["download", name, *words], filling.folder, filling.after)

    def _mgmt(self, stage: Stage, words: list[str], folder: Path, after: Callable[[], object]) -> Command:
        state = self.folder / f"state-{next(self.numbers)}"

        def clean() -> None:
            after()
            shutil.rmtree(state)

        return Command(
            [sys.executable, "-m", "mgmt", "-q", *words],
            environment={
                "MGMT_API_URL": stage.service_url,
                "MGMT_TOKEN": stage.token,
                "MGMT_STATE_DIR": str(state),
                "MGMT_CONFIG": str(self.folder / "no-config"),
            },
            folder=folder,
            after=clean,
        )

    # --- the others ------------------------------------------------------------------------------------

    def _ancestor(self, stage: Stage, sources: list[Path]) -> Command:
        words: list[str | Path] = ["upload", stage.storage_url, BUCKET, self.fresh_prefix(), self.folder, *sources]
        return self._command([self.peers.python, _ANCESTOR_SCRIPT, *words], stage)

    def _aws(self, stage: Stage, source: Path) -> Command:
        parent, name = shlex.quote(str(source.parent)), shlex.quote(source.name)
        target = f"s3://{BUCKET}/{self.fresh_prefix()}/{source.name}.tar.gz"
        pack = f"tar czf {self._quoted} -C {parent} {name}"
        copy = f"{self._aws_cp(stage)} {self._quoted} {shlex.quote(target)}"
        return self._command(self._shell(f"{pack} && {copy} && rm {self._quoted}"), stage)

    def _aws_batch(self, stage: Stage, folder: Path) -> Command:
        """All archives first, then one command: a start of the command line per file would be no contest."""
        made = shlex.quote(str(self.folder / "batch"))
        pack = f'mkdir {made} && for name in *; do tar czf {made}/"$name".tar.gz "$name"; done'
        copy = f"{self._aws_cp(stage)} --recursive {made} s3://{BUCKET}/{self.fresh_prefix()}"
        return self._command(self._shell(f"{pack} && {copy} && rm -r {made}"), stage, folder)

    def _aws_cp(self, stage: Stage) -> str:
        return f"{shlex.quote(str(self.peers.aws))} s3 cp --only-show-errors --endpoint-url {stage.storage_url}"

    def _rclone(self, stage: Stage, source: Path) -> Command:
        parent, name = shlex.quote(str(source.parent)), shlex.quote(source.name)
        target = shlex.quote(f"storage:{BUCKET}/{self.fresh_prefix()}/{source.name}.tar.gz")
        words = f"tar cf - -C {parent} {name} | {self.pigz} | {self._quoted_rclone} rcat {target}"
        return self._command(self._shell(words), stage)

    def _rclone_batch(self, stage: Stage, folder: Path) -> Command:
        """Likewise: all archives first, then one command."""
        made = shlex.quote(str(self.folder / "batch"))
        pack = f'mkdir {made} && for name in *; do tar cf - "$name" | {self.pigz} > {made}/"$name".tar.gz; done'
        copy = f"{self._quoted_rclone} copy {made} storage:{BUCKET}/{self.fresh_prefix()}"
        return self._command(self._shell(f"{pack} && {copy} && rm -r {made}"), stage, folder)

    @property
    def _quoted(self) -> str:
        return shlex.quote(str(self.archive))

    @property
    def _quoted_rclone(self) -> str:
        return shlex.quote(str(self.peers.rclone))

    def _rclone_copy(self, key: str) -> str:
        return f"{self._quoted_rclone} copy {shlex.quote(f'storage:{BUCKET}/{key}')} ."

    def fresh_prefix(self) -> str:
        """Name a prefix that nothing lies under."""
        return f"run-{next(self.numbers)}"

    def _fetching(self, words: list[str], stage: Stage, *, keeps: bool = False) -> Command:
        filling = self._filling(words, keeps=keeps)
        return replace(self._command(words, stage, filling.folder), after=filling.after)

    def _filling(self, words: Sequence[str | Path], *, keeps: bool = False) -> Command:
        """Work in a folder of its own, which is removed, or kept to the end of the run."""
        folder = self.folder / f"into-{next(self.numbers)}"
        folder.mkdir()
        after = (lambda: None) if keeps else lambda: shutil.rmtree(folder)
        return Command([os.fspath(word) for word in words], folder=folder, after=after)

    def _shell(self, script: str) -> list[str]:
        return ["bash", "-c", _PIPE + script]

    def _making(self, words: Sequence[str | Path]) -> Command:
        return Command([os.fspath(word) for word in words], output=self.archive)

    def _command(self, words: Sequence[str | Path], stage: Stage, folder: Path | None = None) -> Command:
        environment = {**stage.keys, **_rclone_settings(stage), "HOME": str(self.folder)}
        return Command([os.fspath(word) for word in words], environment=environment, folder=folder)


def drop_pages(source: Path) -> None:
    """Drop a file, or all files of a folder, from the system's cache."""
    for path in source.rglob("*") if source.is_dir() else [source]:
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def _rclone_settings(stage: Stage) -> dict[str, str]:
    """Configure rclone for the storage; a discarding one has no MD5 to compare, so none is asked for."""
    return {
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_STORAGE_TYPE": "s3",
        "RCLONE_CONFIG_STORAGE_PROVIDER": "Other",
        "RCLONE_CONFIG_STORAGE_ENDPOINT": stage.storage_url,
        "RCLONE_CONFIG_STORAGE_ENV_AUTH": "true",
        "RCLONE_S3_FORCE_PATH_STYLE": "true",
        "RCLONE_S3_NO_CHECK_BUCKET": "true",
        "RCLONE_S3_USE_MULTIPART_ETAG": "false",
    }
