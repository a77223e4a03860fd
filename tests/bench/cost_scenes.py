"""The scenes that count memory, processor time and sizes."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

from bench.comparison import Bench
from bench.contenders import MGMT, Make
from bench.material import MIB
from bench.processes import Command, ask, bare_environment, interleave, measure, serving
from bench.report import at_most, told
from bench.stages import MEGABYTE, discarding_stage, make_keys

GIB: Final = 1024 * MIB


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
        serving("bench.discard", "tls", str(bench.fresh_folder("tls"))) as secure,
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
    settings = {"MGMT_BUCKET": "bench", "MGMT_TABLE": "bench", "AWS_REGION": "us-east-1", "MGMT_SCOPES": "mgmt/use"}
    settings |= make_keys()
    # The libraries have their bytecode since they were installed; without it, the service would be compiled each time.
    settings["PYTHONDONTWRITEBYTECODE"] = ""
    with serving("bench.discard") as server:
        endpoint = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.tell()['port']}"}

        def cost(what: str, environment: Mapping[str, str] = settings) -> float:
            return float(ask("bench.service_costs", what, environment=environment))

        # Pair by pair: a machine that changes its speed between two rounds changes no ratio.
        imports = [(cost("import_service"), cost("import_baseline")) for _ in range(bench.often**2)]
        baseline_seconds = statistics.median(baseline for _, baseline in imports)
        import_ratio = statistics.median(ours / baseline for ours, baseline in imports)
        started = [cost("start_upload", settings | endpoint) for _ in range(bench.often)]
        sign_seconds = cost("sign_request", settings | endpoint)
        url_seconds = statistics.median(cost("sign_urls") for _ in range(bench.often))
    bench.report.add_rows(
        [
            at_most("service: import, of the resolver's and clients'", import_ratio, 1.15),
            told("service: import of the resolver and the clients, CPU", baseline_seconds * 1000, "ms"),
            at_most("service: a warm start request, CPU", statistics.median(started) * 1000, 10, "ms"),
            at_most("service: 100 part URLs, CPU", url_seconds * 1000, 30, "ms"),
            told("service: the whole request for them, CPU", sign_seconds * 1000, "ms"),
        ]
    )


def zip_service(bench: Bench) -> None:
    """Put the function's zip together; its wheels come from the package registry."""
    size_bytes = ask("bench.service_costs", "zip_service")
    bench.report.add_rows([at_most("service: the zip", size_bytes / MEGABYTE, 4, "MB")])


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.4g} GiB"
