"""A journal whose bytes are not what was written: named, with what to do, and never the end of the process."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from mgmt.cli.main import main
from mgmt.errors import LocalStateError
from mgmt.journal import Entry, Journal, Moved, new_operation_id
from mgmt_contract.messages.uploads import CleanUp, Content
from support.paper_service import paper_service

CONTENT = Content(10, "AAAAAAAAAAA=", "blake3:" + "0" * 64, 5, 1)
ENTRY = Entry(
    new_operation_id(), "https://s", "/a/clip", "p/clip", "/a/clip.tar.gz", "f1", "auto", 10, 7, None, CONTENT
)


@pytest.fixture
def state(tmp_path):
    with closing(Journal(tmp_path / "state")) as journal:
        journal.put([ENTRY])
        moved = Moved(new_operation_id(), "https://s", "/a/clip", "p/clip", "/b/clip")
        journal.finish("https://s", [CleanUp(new_operation_id(), "completed", "deleted")], moved=[moved])
        journal.note_optional_fields("https://s", ("content_md5",))
    return tmp_path / "state"


def change(statement):
    def apply(path):
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(statement)

    return apply


DAMAGES = {
    "other bytes": lambda path: path.write_bytes(b"no database at all, whatever its name may be" * 100),
    "cut in the middle of a page": lambda path: os.truncate(path, path.stat().st_size // 2 + 7),
    "pages of zeros": lambda path: path.write_bytes(path.read_bytes()[:4096] + bytes(path.stat().st_size - 4096)),
    "content that is none": change("UPDATE uploads SET content = '{'"),
    "content of something else": change("UPDATE uploads SET content = '{\"size\": -1}'"),
    "another program's database": change("ALTER TABLE uploads RENAME TO downloads"),
}


def use(state):
    with closing(Journal(state)) as journal:
        journal.find("https://s", "/a/clip", "p/clip")
        journal.put([ENTRY])


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_journal_is_named_with_what_to_do_and_a_new_one_works(state, damage):
    path = state / "journal.sqlite"
    DAMAGES[damage](path)
    with pytest.raises(LocalStateError) as caught:
        use(state)
    assert caught.value.code == "journal-damaged"
    assert str(path) in caught.value.message
    assert "Rename it to journal.sqlite.damaged" in caught.value.message
    path.rename(state / "journal.sqlite.damaged")
    with closing(Journal(state)) as journal:
        journal.put([ENTRY])
        assert journal.find("https://s", "/a/clip", "p/clip") == ENTRY


@pytest.mark.parametrize(
    ("statement", "read"),
    [
        ("UPDATE clean_ups SET clean_up = 'x'", lambda journal: journal.unreported("https://s", 10)),
        ("UPDATE optional_fields SET fields = 'x'", lambda journal: journal.optional_fields("https://s")),
        ("UPDATE moved SET object = 'x'", lambda journal: journal.find_moved("https://s", "/a/clip", "p/clip")),
        ("UPDATE uploads SET excludes = 'x'", lambda journal: journal.unfinished("https://s")),
    ],
    ids=["report", "fields", "moved", "excludes"],
)
def test_a_text_that_is_none_is_damage_too(state, statement, read):
    change(statement)(state / "journal.sqlite")
    with pytest.raises(LocalStateError, match="damaged") as caught, closing(Journal(state)) as journal:
        read(journal)
    assert caught.value.code == "journal-damaged"


CUT = """
import os, sys
from contextlib import closing
from pathlib import Path
from mgmt.errors import LocalStateError
from mgmt.journal import Journal
state = Path(sys.argv[1])
with closing(Journal(state)) as journal, closing(Journal(state)) as other:
    other.find("s", "p", "d")
    for path in state.glob("journal.sqlite*"):
        os.truncate(path, int(float(sys.argv[2]) * path.stat().st_size))
    try:
        for _ in range(3):
            journal.find("s", "p", "d")
            journal.forget(["x"])
    except LocalStateError as error:
        print(error.message)
"""


@pytest.mark.parametrize("left", ["0", "0.3"])
def test_a_journal_that_is_cut_short_under_a_running_command_ends_with_a_sentence(state, left):
    """Nothing of it is mapped into memory, where reading what is gone would kill the process."""
    done = subprocess.run(
        [sys.executable, "-c", CUT, os.fspath(state), left], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "journal.sqlite" in done.stdout


def test_the_command_says_it_with_exit_code_9_and_goes_on_once_it_is_renamed(tmp_path, monkeypatch, capsys):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "journal.sqlite").write_bytes(b"damaged" * 1000)
    (tmp_path / "clip").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MGMT_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("MGMT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("MGMT_TOKEN", "sesame")
    with paper_service() as service:
        monkeypatch.setenv("MGMT_API_URL", service.url)
        assert main(["upload", "clip"]) == 9
        assert str(tmp_path / "state" / "journal.sqlite") in capsys.readouterr().err.replace("\n  ", " ")
        (tmp_path / "state" / "journal.sqlite").rename(tmp_path / "state" / "journal.sqlite.damaged")
        assert main(["upload", "clip"]) == 0
