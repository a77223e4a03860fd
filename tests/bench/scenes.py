"""The scenes: each measures its contenders in turns and turns what they took into figures."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.contenders import ANCESTOR, COPY, LEVEL_9, MGMT, PIGZ, TAR, Arena, Make
from bench.material import MIB, Material, Scale
from bench.processes import Command, Costs, ask, bare_environment, interleave, measure, serving
from bench.report import Report, Row, at_least, at_most, told
from bench.stages import MEGABYTE, Link, Stage, discarding_stage, engine_stage, make_keys

GIB: Final = 1024 * MIB
ONE_WORKER: Final = "mgmt, one worker"
TWO_WORKERS: Final = "mgmt, two workers"
NO_DIGEST: Final = "mgmt, no digest"
BEST: Final = "mgmt, best"
_CALLS_PER_HUNDRED: Final = 2
_CALLS_BESIDE: Final = 2
"""Asking the service to describe itself, and the last clean-up."""


@dataclass(frozen=True)
class Bench:
    """Everything a scene works with."""

    material: Material
    scale: Scale
    arena: Arena
    report: Report
    folder: Path
    often: int
    """How often the quick contenders run."""
    seldom: int
    """How often those run that take long."""
    rivals: tuple[str, ...]
    """Who uploads beside mgmt."""

    def fresh_folder(self, name: str) -> Path:
        """Make a folder for a scene."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        return folder


# --- packing -------------------------------------------------------------------------------------------


def pack_footage(bench: Bench) -> None:
    """Pack one file that does not shrink."""
    source = bench.material.footage
    packers = bench.arena.packers(source)
    costs = interleave(
        {
            MGMT: (bench.often, packers[MGMT]),
            NO_DIGEST: (bench.often, lambda: bench.arena.pack(source, "digest=no")),
            COPY: (bench.often, packers[COPY]),
            LEVEL_9: (bench.seldom, packers[LEVEL_9]),
        }
    )
    bench.report.add_costs("pack footage", costs)
    bench.report.add_rows(
        [
            at_least("pack footage: as fast as w:gz", _faster(costs, LEVEL_9), 15),
            at_most("pack footage: time of cp", 1 / _faster(costs, COPY), 3),
            at_most("pack footage, without the digest: time of cp", 1 / _faster(costs, COPY, NO_DIGEST), 1.5),
            at_most("pack footage: size", costs[MGMT].output_bytes / source.stat().st_size, 1.001, "of the size"),
        ]
    )


def pack_text(bench: Bench) -> None:
    """Pack one file that shrinks."""
    source = bench.material.text
    packers = bench.arena.packers(source)
    costs = interleave(
        {
            MGMT: (bench.often, packers[MGMT]),
            ONE_WORKER: (bench.often, lambda: bench.arena.pack(source, "workers=1")),
            TWO_WORKERS: (bench.often, lambda: bench.arena.pack(source, "workers=2")),
            PIGZ: (bench.often, packers[PIGZ]),
            BEST: (bench.seldom, lambda: bench.arena.pack(source, "plan=best")),
            TAR: (bench.seldom, packers[TAR]),
            LEVEL_9: (bench.seldom, packers[LEVEL_9]),
        }
    )
    bench.report.add_costs("pack text", costs)
    bench.report.add_rows(
        [
            at_least("pack text: as fast as w:gz", _faster(costs, LEVEL_9), 25),
            at_least("pack text: as fast as tar czf", _faster(costs, TAR), 10),
            at_least("pack text: as fast as tar | pigz -1", _faster(costs, PIGZ), 3),
            at_most("pack text: size by tar | pigz -1", _larger(costs, PIGZ), 1, "of the size"),
            at_least("pack text: two workers as fast as one", _faster(costs, ONE_WORKER, TWO_WORKERS), 1.4),
            at_least("pack text, best: as fast as level 9", _faster(costs, LEVEL_9, BEST), 4),
            at_most("pack text, best: size by level 9's", _larger(costs, LEVEL_9, BEST), 1.02, "of the size"),
        ]
    )


def pack_tree(bench: Bench) -> None:
    """Pack many small files."""
    packers = bench.arena.packers(bench.material.tree)
    costs = interleave(
        {
            MGMT: (bench.often, packers[MGMT]),
            PIGZ: (bench.often, packers[PIGZ]),
            LEVEL_9: (bench.seldom, packers[LEVEL_9]),
        }
    )
    bench.report.add_costs("pack small files", costs)
    bench.report.add_rows(
        [
            at_least(f"pack {bench.scale.tree_files:,} files: as fast as w:gz", _faster(costs, LEVEL_9), 25),
            at_least(f"pack {bench.scale.tree_files:,} files: as fast as tar | pigz -1", _faster(costs, PIGZ), 2),
        ]
    )


def pack_mixed(bench: Bench) -> None:
    """Pack a project."""
    packers = bench.arena.packers(bench.material.mixed)
    costs = interleave(
        {
            MGMT: (bench.often, packers[MGMT]),
            LEVEL_9: (bench.seldom, packers[LEVEL_9]),
        }
    )
    bench.report.add_costs("pack a mixed project", costs)
    bench.report.add_rows(
        [
            at_least("pack the mixed project: as fast as w:gz", _faster(costs, LEVEL_9), 25),
            at_most("pack the mixed project: size by level 9's", _larger(costs, LEVEL_9), 1.02, "of the size"),
        ]
    )


def pack_sound(bench: Bench) -> None:
    """Pack samples, which shrink a little."""
    packers = bench.arena.packers(bench.material.sound)
    costs = interleave(
        {
            MGMT: (bench.often, packers[MGMT]),
            PIGZ: (bench.often, packers[PIGZ]),
            LEVEL_9: (bench.seldom, packers[LEVEL_9]),
        }
    )
    bench.report.add_costs("pack sound", costs)
    bench.report.add_rows(
        [
            told("pack sound: as fast as w:gz", _faster(costs, LEVEL_9)),
            told("pack sound: as fast as tar | pigz -1", _faster(costs, PIGZ)),
            told("pack sound: size by level 9's", _larger(costs, LEVEL_9), "of the size"),
        ]
    )


# --- whole uploads -------------------------------------------------------------------------------------


def upload_footage(bench: Bench) -> None:
    """Upload footage to a storage that costs nothing."""
    _upload_plain(bench, "footage", bench.material.footage)


def upload_text(bench: Bench) -> None:
    """Upload text likewise."""
    _upload_plain(bench, "text", bench.material.text)


def upload_tree(bench: Bench) -> None:
    """Upload many small files as one archive likewise."""
    _upload_plain(bench, "small files", bench.material.tree)


def _upload_plain(bench: Bench, what: str, source: Path) -> None:
    with discarding_stage(bench.fresh_folder(f"upload {what}")) as stage:
        costs = _race(bench, bench.arena.uploaders(source, stage))
    bench.report.add_costs(f"upload {what}, fast storage", costs)
    row = at_least(f"upload {what}, fast storage: as fast as the ancestor", _faster(costs, ANCESTOR), 15)
    bench.report.add_rows([row, *_against_peers(f"upload {what}, fast storage", costs)])


def upload_to_engine(bench: Bench) -> None:
    """Upload a project to SeaweedFS, which checks and stores it on the same machine."""
    with engine_stage(bench.fresh_folder("upload to engine")) as stage:
        costs = _race(bench, bench.arena.uploaders(bench.material.mixed, stage))
    bench.report.add_costs("upload the mixed project, SeaweedFS", costs)
    bench.report.add_rows(_against_peers("upload the mixed project, SeaweedFS", costs))


def upload_slowly(bench: Bench) -> None:
    """Upload footage through 12 MB/s."""
    _upload_throttled(bench, "footage", bench.material.far_clip, 12)


def upload_moderately(bench: Bench) -> None:
    """Upload a project through 50 MB/s."""
    _upload_throttled(bench, "the mixed project", bench.material.mixed, 50)


def _upload_throttled(bench: Bench, what: str, source: Path, megabytes_per_second: int) -> None:
    packed = measure(bench.arena.pack(source))
    rate = megabytes_per_second * MEGABYTE
    title = f"upload {what}, {megabytes_per_second} MB/s"
    with discarding_stage(bench.fresh_folder(title.replace("/", " ")), Link(bytes_per_second=rate)) as stage:
        costs = _race(bench, bench.arena.uploaders(source, stage))
    least_seconds = max(packed.wall_seconds, (packed.output_bytes or 0) / rate)
    bench.report.add_costs(title, costs)
    bench.report.add_rows(
        [
            at_most(f"{title}: time of max(pack, bytes / rate)", costs[MGMT].wall_seconds / least_seconds, 1.03),
            at_most(f"{title}: time of the fastest peer", 1 / _faster(costs, _fastest_peer(costs)), 1),
        ]
    )


def upload_all_far_away(bench: Bench) -> None:
    """Upload a folder of files of 100 kB one by one, with 50 ms there and back."""
    title = f"upload all, {bench.scale.photos:,} files of 100 kB, 50 ms"
    folder = bench.material.photos
    calls: list[int] = []
    with discarding_stage(bench.fresh_folder("upload all"), Link(round_trip_seconds=0.05)) as stage:
        uploaders = bench.arena.batch_uploaders(folder, stage)
        costs = _race(bench, {**uploaders, MGMT: lambda: _counting(stage, calls, uploaders[MGMT]())})
    most_calls = _CALLS_PER_HUNDRED * -(-bench.scale.photos // 100) + _CALLS_BESIDE
    bench.report.add_costs(title, costs)
    bench.report.add_rows(
        [
            at_least(f"{title}: as fast as the ancestor", _faster(costs, ANCESTOR), 10),
            at_most(f"{title}: service calls", max(calls), most_calls, "calls"),
            *_against_peers(title, costs),
        ]
    )


def _counting(stage: Stage, calls: list[int], command: Command) -> Command:
    before = stage.count_calls()

    def note_calls() -> None:
        calls.append(stage.count_calls() - before)
        command.after()

    return Command(command.words, command.environment, command.folder, command.output, note_calls)


# --- memory, carrying, service -------------------------------------------------------------------------


def use_memory(bench: Bench) -> None:
    """Upload what is very large and what is very many."""
    material, scale = bench.material, bench.scale
    subprocess.run(
        [sys.executable, "-m", "bench.material", "empty", str(material.empty_files), str(scale.empty_files)],
        env=bare_environment(),
        check=True,
    )
    with discarding_stage(bench.fresh_folder("memory")) as stage:
        sources = {
            f"{_gib(scale.footage_bytes)} of footage": (material.footage, 64),
            f"a sparse file of {_gib(scale.sparse_bytes)}": (material.sparse, 64),
            f"{scale.empty_files:,} empty files": (material.empty_files, 100),
        }
        for what, (source, most_mib) in sources.items():
            make: Make = bench.arena.uploaders(source, stage)[MGMT]
            costs = interleave({MGMT: (1, make)})
            bench.report.add_costs(f"memory, {what}", costs)
            row = at_most(f"memory: peak with {what}", costs[MGMT].peak_bytes / MIB, most_mib, "MiB")
            bench.report.add_rows([row])


def carry(bench: Bench) -> None:
    """Carry a file with one PUT, over HTTP and over TLS, and count the processor time."""
    path = bench.material.footage
    size_gib = path.stat().st_size / GIB
    taken: dict[str, list[float]] = {"http": [], "https": []}
    with (
        serving("bench.discard") as plain,
        serving("bench.discard", str(bench.fresh_folder("tls"))) as secure,
    ):
        servers = {"http": plain.tell(), "https": secure.tell()}
        for _ in range(bench.often):
            for scheme, server in servers.items():
                url = f"{scheme}://127.0.0.1:{server['port']}/bench/carried"
                certificate = [server["certificate"]] if server["certificate"] else []
                taken[scheme].append(ask("bench.drivers", "carry", str(path), url, *certificate) / size_gib)
    plain_seconds, secure_seconds = (statistics.median(taken[scheme]) for scheme in ("http", "https"))
    bench.report.add_rows(
        [
            at_most("carry over plain HTTP: CPU seconds per GiB", plain_seconds, 0.8, "s"),
            at_most("carry over TLS: CPU seconds per GiB", secure_seconds, 1.8, "s"),
        ]
    )


def show_history(bench: Bench) -> None:
    """Ask a running local service for its history."""
    folder = bench.fresh_folder("history")
    environment = {
        "MGMT_LOCAL_STATE_DIR": str(folder / "local"),
        "MGMT_STATE_DIR": str(folder / "state"),
        "MGMT_CONFIG": str(folder / "no-config"),
    }

    def mgmt(*words: str) -> Command:
        return Command([sys.executable, "-m", "mgmt", *words], environment, bench.material.root)

    photo = next(bench.material.photos.iterdir())
    with contextlib.ExitStack() as running:
        running.callback(measure, mgmt("local", "stop"))
        measure(mgmt("local", "start"))
        measure(mgmt("--local", "-q", "upload", str(photo)))
        costs = interleave(
            {
                "mgmt --local history": (2 * bench.often, lambda: mgmt("--local", "history")),
                "mgmt --help": (2 * bench.often, lambda: mgmt("--help")),
            }
        )
    bench.report.add_costs("history", costs)
    ratio = costs["mgmt --local history"].wall_seconds / costs["mgmt --help"].wall_seconds
    bench.report.add_rows([at_most("mgmt history on a running local service: time of mgmt --help", ratio, 3)])


def run_service(bench: Bench) -> None:
    """Count what the service takes of the processor."""
    settings = {"MGMT_BUCKET": "bench", "MGMT_TABLE": "bench", "AWS_REGION": "us-east-1", **make_keys()}
    with serving("bench.discard") as server:
        endpoint = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.tell()['port']}"}

        def cost(what: str, environment: Mapping[str, str] = settings) -> float:
            return float(ask("bench.service_costs", what, environment=environment))

        imports: dict[str, list[float]] = {"import_service": [], "import_baseline": []}
        for _ in range(bench.often + 2):
            for what, taken in imports.items():
                taken.append(cost(what))
        baseline = statistics.median(imports["import_baseline"])
        start_seconds = cost("start_upload", settings | endpoint)
        sign_seconds = cost("sign_request", settings | endpoint)
    bench.report.add_rows(
        [
            at_most(
                "service: import, of the resolver's and clients'", _median(imports["import_service"]) / baseline, 1.15
            ),
            told("service: import of the resolver and the clients, CPU", baseline * 1000, "ms"),
            at_most("service: a warm start request, CPU", start_seconds * 1000, 10, "ms"),
            at_most("service: 100 part URLs, CPU", cost("sign_urls") * 1000, 30, "ms"),
            told("service: the whole request for them, CPU", sign_seconds * 1000, "ms"),
        ]
    )


def zip_service(bench: Bench) -> None:
    """Put the function's zip together; its wheels come from the package registry."""
    size_bytes = ask("bench.service_costs", "zip_service")
    bench.report.add_rows([at_most("service: the zip", size_bytes / MEGABYTE, 4, "MB")])


# --- what the scenes share -----------------------------------------------------------------------------


def _race(bench: Bench, uploaders: Mapping[str, Make]) -> dict[str, Costs]:
    rivals = {name: (bench.seldom, uploaders[name]) for name in bench.rivals}
    return interleave({MGMT: (bench.often, uploaders[MGMT]), **rivals})


def _faster(costs: Mapping[str, Costs], than: str, who: str = MGMT) -> float:
    return costs[than].wall_seconds / costs[who].wall_seconds


def _larger(costs: Mapping[str, Costs], than: str, who: str = MGMT) -> float:
    return costs[who].output_bytes / costs[than].output_bytes


def _fastest_peer(costs: Mapping[str, Costs]) -> str:
    return min((name for name in costs if name != MGMT), key=lambda name: costs[name].wall_seconds)


def _against_peers(title: str, costs: Mapping[str, Costs]) -> list[Row]:
    return [told(f"{title}: as fast as {name}", _faster(costs, name)) for name in costs if name not in (MGMT, ANCESTOR)]


def _median(values: list[float]) -> float:
    return statistics.median(values)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.4g} GiB"


SCENES: Final[Mapping[str, Callable[[Bench], None]]] = {
    scene.__name__.replace("_", "-"): scene
    for scene in (
        pack_footage,
        pack_text,
        pack_tree,
        pack_mixed,
        pack_sound,
        upload_footage,
        upload_text,
        upload_tree,
        upload_to_engine,
        upload_slowly,
        upload_moderately,
        upload_all_far_away,
        carry,
        use_memory,
        show_history,
        run_service,
        zip_service,
    )
}
"""Every scene by its name, in the order of a run."""

LONG_RUNS_ONLY: Final = frozenset({"pack-sound", "upload-text", "zip-service"})
"""Scenes that the short form leaves out."""
