"""`mgmt upload`'s options: what has no meaning is refused with 2, by its own name, before anything is looked at."""

import errno
from pathlib import Path

import pytest

from mgmt.cli.main import main
from mgmt.cli.upload import check_embedded_class, check_folder
from mgmt.errors import LocalStateError
from mgmt_contract.storage import STORAGE_CLASSES


@pytest.fixture(autouse=True)
def work(machine_without_settings, monkeypatch):
    """A folder with one file, and a service that must not be called."""
    monkeypatch.setenv("MGMT_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("MGMT_TOKEN", "sesame")
    (machine_without_settings / "clip").write_text("x")
    return machine_without_settings


def refused(capsys, *arguments):
    exit_code = main(["upload", *arguments])
    return exit_code, capsys.readouterr().err


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\nb", "\x7f", "\udcff", "x" * 1100])
def test_a_bad_name_is_blamed_on_as(capsys, name):
    exit_code, said = refused(capsys, "clip", "--as", name)
    assert exit_code == 2
    assert "--as" in said


@pytest.mark.parametrize("prefix", ["a//b", "..", "a/./b", "a\nb", "x" * 1100, ".mgmt/day1"])
def test_a_bad_prefix_is_blamed_on_where_it_came_from(capsys, monkeypatch, prefix):
    exit_code, said = refused(capsys, "clip", "--prefix", prefix)
    assert exit_code == 2
    assert "--prefix" in said
    assert "--as" not in said
    monkeypatch.setenv("MGMT_OBJECT_PREFIX", prefix)
    exit_code, said = refused(capsys, "clip")
    assert exit_code == 2
    assert "MGMT_OBJECT_PREFIX (from environment)" in said


@pytest.mark.parametrize(
    "tags",
    [
        ["novalue"],
        ["=x"],
        ["a=1", "a=2"],
        ["aws:x=y"],
        ["mgmt-expired=y"],
        ["AWS:x=y"],
        ["k" * 129 + "=v"],
        ["k=" + "v" * 257],
        ["k=a;b"],
        ["k=a\nb"],
        [f"k{n}=v" for n in range(11)],
    ],
)
def test_tags_that_s3_would_not_take_are_refused(capsys, tags):
    exit_code, said = refused(capsys, "clip", *[part for tag in tags for part in ("--tag", tag)])
    assert exit_code == 2
    assert "tag" in said


def test_a_storage_class_is_one_that_s3_knows(capsys):
    exit_code, said = refused(capsys, "clip", "--storage-class", "CHEAP")
    assert exit_code == 2
    assert all(name in said for name in STORAGE_CLASSES)


@pytest.mark.parametrize("storage_class", [each for each in STORAGE_CLASSES if each != "STANDARD"])
@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_the_embedded_backend_says_at_once_which_storage_class_it_has(capsys, work, storage_class, more):
    exit_code, said = refused(capsys, "clip", "--local", "--storage-class", storage_class, *more)
    assert exit_code == 2
    assert f"The embedded backend has no storage class {storage_class}: all that it stores is STANDARD" in said
    assert {each.name for each in work.iterdir()} == {"clip"}
    check_embedded_class("STANDARD")
    check_embedded_class(None)


def test_a_folder_for_archives_is_not_made(capsys, work):
    exit_code, said = refused(capsys, "clip", "--archive-dir", "none")
    assert exit_code == 2
    assert "Create it" in said
    exit_code, said = refused(capsys, "clip", "--archive-dir", "clip")
    assert (exit_code, "'clip' is a file; expected a folder" in said) == (2, True)
    assert [path.name for path in work.iterdir()] == ["clip"]


def test_a_folder_whose_disk_does_not_answer_is_not_said_to_be_missing(monkeypatch):
    def fail(*_):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(Path, "stat", fail)
    with pytest.raises(LocalStateError, match="Stale file handle"):
        check_folder(Path("mount"), "--to", "no-folder")


@pytest.mark.parametrize("glob", ["", "./", "/"])
def test_a_glob_that_names_nothing_is_refused(capsys, glob):
    """As of a script's variable that is not set: all would be uploaded."""
    exit_code, said = refused(capsys, "clip", "--exclude", glob)
    assert (exit_code, "--exclude names nothing" in said) == (2, True)


@pytest.mark.parametrize("glob", ["clip", "./clip", "cl*", "*"])
def test_a_target_that_is_excluded_is_said(capsys, glob):
    exit_code, said = refused(capsys, "./clip", "--exclude", glob)
    assert exit_code == 2
    assert "--exclude" in said


def test_move_completed_leaves_the_next_argument_a_target(capsys):
    exit_code, said = refused(capsys, "--move-completed", "clip")
    assert exit_code == 10
    assert "MGMT_COMPLETED_DIR" in said
    assert refused(capsys, "--move-completed=", "clip")[0] == 2
    assert refused(capsys, "--move-completed", "--completed-dir=", "clip")[0] == 2


@pytest.mark.parametrize("configured", [False, True])
def test_a_folder_for_completed_originals_moves_nothing_by_itself(capsys, monkeypatch, work, configured):
    if configured:
        monkeypatch.setenv("MGMT_COMPLETED_DIR", str(work / "done"))
    exit_code, said = refused(capsys, "clip", "--completed-dir", "done")
    assert exit_code == 2
    assert "Add --move-completed" in said


@pytest.mark.parametrize("inside", [".", "deep/er"])
@pytest.mark.parametrize("options", [(), ("--dry-run", "--exclude", "stat*")])
def test_a_folder_with_mgmts_own_state_in_it_is_not_refused_for_that(capsys, monkeypatch, work, inside, options):
    """The state is left out. What comes after looking says that it goes on: there is no place to move it to."""
    monkeypatch.setenv("MGMT_STATE_DIR", str(work / "box" / inside / "state"))
    assert refused(capsys, "box", "--move-completed", "--completed-dir=clip", *options)[0] == 9
