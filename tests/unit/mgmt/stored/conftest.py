"""A person's session with a real service on a real engine, before a network that breaks when told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mgmt.archive import pack
from mgmt.events import Event, Notice
from mgmt.network.retry import Patience
from mgmt.session import Session, open_session
from mgmt.settings import Settings
from mgmt.source import look
from mgmt.stored import archive, indexes
from mgmt_contract.messages.history import HistoryRequest
from mgmt_contract.parts import KIB
from mgmt_contract.records import DownloadRecord, UploadRecord
from support.stored import store_upload
from support.team import Laptop, Team
from support.team_fixtures import bert, storage, team
from support.trees import noise, text

__all__ = ["bert", "storage", "team"]

CLIP = noise(5 * 1024 * KIB)


@dataclass
class Desk:
    """Somebody who reads what others have stored."""

    team: Team
    session: Session
    events: list[Event] = field(default_factory=list)

    @property
    def notices(self) -> list[str]:
        """The codes of what was said."""
        return [event.code for event in self.events if isinstance(event, Notice)]

    def history(self) -> list[DownloadRecord]:
        """What the history has of downloads, newest first."""
        records = self.session.api.history(HistoryRequest(operation_type="download")).records
        return [record for record in records if isinstance(record, DownloadRecord)]

    def downloads(self) -> list[tuple[str, str | None]]:
        """The status and the error of each."""
        return [(record.status, record.error_code) for record in self.history()]


@pytest.fixture
def desk(team: Team, bert: Laptop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(Patience, "_pause", lambda *_: None)
    monkeypatch.setattr(archive, "RANGE_SIZE_BYTES", 512 * KIB)
    monkeypatch.setattr(indexes, "SINGLE_PUT_MAX_BYTES", 0)
    events: list[Event] = []
    token = bert.environment["MGMT_TOKEN"]
    with open_session(
        Settings(api_url=team.url),
        token=lambda _=None: token,
        state_dir=tmp_path / "desk",
        emit=events.append,
        stop=threading.Event(),
    ) as session:
        yield Desk(team, session, events)


@dataclass
class Stored:
    """A tree that was uploaded."""

    folder: Path
    archive: bytes
    upload: UploadRecord


@pytest.fixture
def card(team: Team, tmp_path: Path) -> Stored:
    folder = tmp_path / "card"
    (folder / "empty folder").mkdir(parents=True)
    (folder / "clip.mov").write_bytes(CLIP)
    (folder / "notes.txt").write_bytes(text(300 * KIB))
    (folder / "nothing").touch()
    (folder / "link").symlink_to("clip.mov")
    packed = pack(look(folder), tmp_path / "card.tar.gz")
    return Stored(folder, packed.path.read_bytes(), store_upload(team, packed))
