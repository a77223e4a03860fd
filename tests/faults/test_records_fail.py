"""The records' database locked or read-only in the middle of an upload: the upload waits for it, or is resumed."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest

from mgmt_api.ports import RecordsUnavailableError
from support.programs import QUICK_WAITS
from support.trees import noise

MB = 1_000_000
WRITES = ("create_operation", "update_operation", "put_name", "update_with_name", "add_signed_parts")


class Database:
    """The file that stands behind a team's records, made to refuse; `mend` after so many refusals, if that is set."""

    def __init__(self, team, how):
        self._how = how
        self._own = team.records._connection
        self._own.execute("PRAGMA busy_timeout = 20")
        self._other = sqlite3.connect(team.folder / "records.sqlite", check_same_thread=False, isolation_level=None)
        self._lock = threading.RLock()
        self._is_broken = False
        self.refusals = 0
        self.mends_after = None
        for name in WRITES:
            setattr(team.records, name, self._watch(getattr(team.records, name)))

    def _watch(self, write):
        def call(*given):
            try:
                return write(*given)
            except RecordsUnavailableError:
                self.refusals += 1
                if self.refusals == self.mends_after:
                    self.mend()
                raise

        return call

    def fail(self):
        """Refuse every write from now on."""
        with self._lock:
            if not self._is_broken and self.refusals == 0:
                self._is_broken = True
                if self._how == "locked":
                    self._other.execute("BEGIN IMMEDIATE")
                else:
                    self._own.execute("PRAGMA query_only = ON")

    def mend(self):
        """Take writes again."""
        with self._lock:
            if self._is_broken:
                self._is_broken = False
                if self._how == "locked":
                    self._other.execute("ROLLBACK")
                else:
                    self._own.execute("PRAGMA query_only = OFF")

    def close(self):
        self.mend()
        self._other.close()


@pytest.mark.parametrize(
    ("how", "refusals", "size", "last"),
    [
        pytest.param("locked", 2, 20 * MB, 2, id="locked for a while, parts"),
        pytest.param("locked", None, 300_000, None, id="locked for ever, whole"),
        pytest.param("read-only", 2, 300_000, None, id="read-only for a while, whole"),
        pytest.param("read-only", None, 20 * MB, 2, id="read-only for ever, parts"),
    ],
)
def test_records_that_take_no_write_in_the_middle_of_an_upload(team, anna, how, refusals, size, last):
    (anna.work / "clip.mov").write_bytes(noise(size))
    with closing(Database(team, how)) as database:
        database.mends_after = refusals

        def fail(put):
            if put.part_number == last and put.attempt == 0:
                database.fail()
            return "none"

        team.storage.fault = fail
        run = anna.run("--json", "upload", "clip.mov", "--jobs", "1", program=QUICK_WAITS)
        assert database.refusals >= 2
        assert (run.exit_code, "Traceback" in run.stderr) == (0 if refusals else 7, False), run.stderr
        database.mend()
        sent = len(team.storage.puts)
        if run.exit_code:
            assert anna.left_overs() == ["clip.mov.tar.gz"]
            assert anna.run("upload", "clip.mov").exit_code == 0
    assert len(team.storage.puts) - sent <= (last is None), "no part that had arrived is sent again"
    [record] = anna.run("--json", "history").records
    assert record["status"] == "success"
    assert list(team.objects()) == ["clip.mov.tar.gz"]
    assert (team.multipart_uploads(), anna.left_overs()) == (0, [])
