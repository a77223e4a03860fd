"""Moving an original: what is checked before, and that nothing is lost or replaced when it goes wrong."""

import errno
import os

import pytest

from mgmt.errors import LocalStateError, SourceError
from mgmt.source import look
from mgmt.upload.originals import find_place, move_original
from mgmt.upload.ours import clear_move

MARK = b"mgmt placeholder 0f12ab34\n"


@pytest.fixture
def clip(tmp_path):
    (tmp_path / "clip").write_text("footage")
    return look(tmp_path / "clip")


def test_the_folder_is_made_by_the_first_move_only(tmp_path, clip):
    place = find_place(clip, tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    move_original(clip, place, MARK)
    assert place.read_text() == "footage"
    assert not clip.path.exists()


def test_a_read_only_source_or_folder_is_told_before(somebody):
    (somebody / "own").mkdir()
    (somebody / "own" / "clip").write_text("x")
    (somebody / "done").mkdir()
    source = look(somebody / "own" / "clip")
    (somebody / "done").chmod(0o500)
    with pytest.raises(LocalStateError, match="may not be written to"):
        find_place(source, somebody / "done" / "deep")
    (somebody / "done").chmod(0o700)
    (somebody / "own").chmod(0o500)
    with pytest.raises(SourceError, match="read-only") as caught:
        find_place(source, somebody / "done")
    assert caught.value.code == "source-unmovable"
    with pytest.raises(SourceError, match="by hand") as caught:
        move_original(source, somebody / "done" / "clip", MARK)
    assert caught.value.code == "not-moved"
    (somebody / "own").chmod(0o700)
    assert (somebody / "own" / "clip").read_text() == "x"
    assert list((somebody / "done").iterdir()) == []


def test_what_came_to_lie_there_meanwhile_stays(tmp_path, clip):
    place = find_place(clip, tmp_path / "done")
    place.parent.mkdir()
    place.write_text("theirs")
    with pytest.raises(SourceError, match="exists already"):
        move_original(clip, place, MARK)
    assert (place.read_text(), clip.path.read_text()) == ("theirs", "footage")


@pytest.mark.parametrize("what", ["file", "folder with something in it"])
def test_a_folder_goes_over_nothing_even_in_the_last_moment(tmp_path, monkeypatch, what):
    """Looking first is not what protects: renaming itself fails."""
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "a").write_text("footage")
    card = look(tmp_path / "card")
    place = find_place(card, tmp_path / "done")
    place.parent.mkdir()
    theirs = place if what == "file" else place / "theirs"
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("theirs")
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    with pytest.raises(SourceError):
        move_original(card, place, MARK)
    assert theirs.read_text() == "theirs"
    assert (tmp_path / "card" / "a").read_text() == "footage"


def test_a_left_over_is_cleared_and_nothing_else(tmp_path, clip):
    place = tmp_path / "done"
    place.write_bytes(MARK)
    clear_move(clip, place, MARK)
    assert not place.exists()
    os.link(clip.path, place)
    clear_move(clip, place, MARK)
    assert not place.exists()
    clear_move(clip, place, MARK)
    for theirs in ("", "theirs", "mgmt placeholder 00000000\n"):
        place.write_text(theirs)
        clear_move(clip, place, MARK)
        assert place.read_text() == theirs
    assert clip.path.read_text() == "footage"


@pytest.mark.parametrize("has_another_name", [False, True])
def test_the_source_itself_is_no_left_over_whatever_leads_to_it(tmp_path, clip, has_another_name):
    """The folder for completed originals has become a link to the source's own since."""
    (tmp_path / "done").symlink_to(tmp_path)
    if has_another_name:
        os.link(clip.path, tmp_path / "elsewhere")
    clear_move(clip, tmp_path / "done" / "clip", MARK)
    assert clip.path.read_text() == "footage"


def test_a_left_over_of_a_folder_there_is_none(tmp_path):
    (tmp_path / "card").mkdir()
    (tmp_path / "done").write_bytes(MARK)
    clear_move(look(tmp_path / "card"), tmp_path / "done", MARK)
    assert (tmp_path / "done").exists()


@pytest.mark.skipif(os.name == "nt", reason="links are privileged there")
def test_what_a_link_in_the_originals_old_place_leads_to_is_no_left_over(tmp_path, clip):
    """The original itself, perhaps: moved there by a run that was killed before it could say so."""
    os.link(clip.path, tmp_path / "backup")
    (tmp_path / "done").mkdir()
    clip.path.rename(tmp_path / "done" / "clip")
    clip.path.symlink_to("done/clip")
    clear_move(clip, tmp_path / "done" / "clip", MARK)
    assert (tmp_path / "done" / "clip").read_text() == "footage"


def test_a_new_version_that_took_the_originals_name_during_the_move_stays(tmp_path, clip, monkeypatch):
    """Such as an editor writes it: beside the old one, and then in its place."""
    link = os.link

    def link_and_save(source, target):
        link(source, target)
        (tmp_path / "new").write_text("new version")
        (tmp_path / "new").replace(source)

    monkeypatch.setattr(os, "link", link_and_save)
    move_original(clip, tmp_path / "done" / "clip", MARK)
    assert (tmp_path / "done" / "clip").read_text() == "footage"
    assert clip.path.read_text() == "new version"


@pytest.mark.skipif(os.name == "nt", reason="links are privileged there")
def test_a_link_that_took_the_originals_place_is_not_moved(tmp_path, clip):
    clip.path.rename(tmp_path / "elsewhere")
    clip.path.symlink_to("elsewhere")
    with pytest.raises(SourceError):
        move_original(clip, tmp_path / "done" / "clip", MARK)
    assert clip.path.is_symlink()
    assert not (tmp_path / "done").exists()


def refuse_links(*_):
    raise OSError(errno.EOPNOTSUPP, "no second names here")


def test_on_a_disk_without_hard_links_a_move_replaces_nothing(tmp_path, clip, monkeypatch):
    """A placeholder takes the name; a file that appears there at the same moment is not replaced."""
    monkeypatch.setattr(os, "link", refuse_links)
    place, write = tmp_path / "done" / "clip", os.write

    def write_and_replace(descriptor, data):
        (tmp_path / "theirs").write_text("theirs")
        (tmp_path / "theirs").replace(place)
        return write(descriptor, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write_and_replace)
        with pytest.raises(SourceError, match="exists already"):
            move_original(clip, place, MARK)
    assert (place.read_text(), clip.path.read_text()) == ("theirs", "footage")
    place.unlink()
    move_original(clip, place, MARK)
    assert place.read_text() == "footage"
    assert not clip.path.exists()
