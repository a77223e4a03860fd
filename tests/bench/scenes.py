"""All scenes by name: each measures its contenders in turns and turns what they took into figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bench import cost_scenes, download_scenes, pack_scenes, profile_scenes, upload_scenes
from bench.comparison import Bench

SCENES: Final[Mapping[str, Callable[[Bench], None]]] = {
    scene.__name__.replace("_", "-"): scene
    for scene in (
        pack_scenes.pack_footage,
        pack_scenes.pack_text,
        pack_scenes.pack_tree,
        pack_scenes.pack_mixed,
        pack_scenes.pack_sound,
        upload_scenes.upload_footage,
        upload_scenes.upload_text,
        upload_scenes.upload_tree,
        upload_scenes.upload_to_engine,
        upload_scenes.upload_slowly,
        upload_scenes.upload_moderately,
        upload_scenes.upload_all_far_away,
        download_scenes.download_footage,
        download_scenes.download_one,
        download_scenes.download_tree,
        download_scenes.extract,
        download_scenes.read_again,
        cost_scenes.carry,
        cost_scenes.use_memory,
        cost_scenes.show_history,
        cost_scenes.run_service,
        cost_scenes.zip_service,
        profile_scenes.profile,
    )
}
"""Every scene by its name, in the order of a run."""

LONG_RUNS_ONLY: Final = frozenset(
    {
        "pack-mixed",
        "pack-sound",
        "upload-text",
        "upload-tree",
        "upload-moderately",
        "download-one",
        "download-tree",
        "zip-service",
        "profile",
    }
)
"""Scenes that the short form leaves out."""
