"""The scene without other contenders: where mgmt's own time goes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.comparison import Bench
from bench.processes import ask
from bench.stages import Stage, discarding_stage


def profile(bench: Bench) -> None:
    """Take mgmt's time apart: packing by processor seconds, an upload of footage by the clock."""
    made = bench.material
    sources = {"footage": made.footage, "text": made.text, "small files": made.tree, "mixed project": made.mixed}
    packing = {what: _medians([_pack(bench, source) for _ in range(bench.often)]) for what, source in sources.items()}
    bench.report.add_profile("packing, processor seconds", packing)
    with discarding_stage(bench.fresh_folder("profile")) as stage:
        uploading = _medians([_upload(bench, stage, made.footage) for _ in range(bench.often)])
    bench.report.add_profile("uploading, seconds since the start", {"footage": uploading})


def _pack(bench: Bench, source: Path) -> Mapping[str, float]:
    archive = bench.arena.archive
    steps: Mapping[str, float] = ask("bench.profile", "packing", str(source), str(archive))
    archive.unlink()
    return steps


def _upload(bench: Bench, stage: Stage, source: Path) -> Mapping[str, float]:
    command = bench.arena.upload(stage, source.parent, source.name)
    words = [str(source), "--prefix", f"profile-{next(bench.arena.numbers)}", "--archive-dir", str(bench.folder)]
    steps: Mapping[str, float] = ask("bench.profile", "upload", *words, environment=command.environment)
    command.after()
    return steps


def _medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {step: statistics.median(run[step] for run in runs) for step in runs[0]}
