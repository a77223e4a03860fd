import os
import stat
from pathlib import Path

import pytest

from mgmt.errors import LocalStateError
from mgmt.settings import config_source, default_config_path, read_config, write_config


@pytest.fixture
def config(tmp_path):
    return tmp_path / "mgmt" / "config"


def test_writing_keeps_comments_unknown_lines_and_order(config):
    config.parent.mkdir()
    config.write_text("# ours\nMGMT_BUCKET = old  \nSOMETHING=else\n\nexport MGMT_LOCAL_DIR='/a b'\n")
    write_config(config, {"MGMT_BUCKET": "new", "MGMT_API_URL": "https://x.example", "MGMT_LOCAL_DIR": None})
    assert config.read_text() == "# ours\nMGMT_BUCKET=new\nSOMETHING=else\n\nMGMT_API_URL=https://x.example\n"


def test_quotes_spaces_and_export_are_read_as_a_shell_would(config):
    config.parent.mkdir()
    config.write_text("  export MGMT_LOCAL_DIR='/a b'\nMGMT_BUCKET=\"b\"\nnot a line\nPATH=/x\n")
    assert read_config(config) == {"MGMT_LOCAL_DIR": "/a b", "MGMT_BUCKET": "b"}


def test_a_linked_config_file_stays_a_link(config, tmp_path):
    target = tmp_path / "dotfiles"
    target.write_text("MGMT_BUCKET=a\n")
    config.parent.mkdir()
    config.symlink_to(target)
    write_config(config, {"MGMT_BUCKET": "b"})
    assert config.is_symlink()
    assert target.read_text() == "MGMT_BUCKET=b\n"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(config, monkeypatch):
    write_config(config, {"MGMT_BUCKET": "old"})
    monkeypatch.setattr(os, "fsync", _no_space)
    with pytest.raises(LocalStateError, match="cannot be written"):
        write_config(config, {"MGMT_BUCKET": "new"})
    assert config.read_text() == "MGMT_BUCKET=old\n"
    assert [each.name for each in config.parent.iterdir()] == ["config"]


def test_the_config_file_is_its_owners(config):
    write_config(config, {"MGMT_BUCKET": "b"})
    assert stat.S_IMODE(config.stat().st_mode) == 0o600


def test_a_config_file_that_is_no_text_is_named(config):
    config.parent.mkdir()
    config.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LocalStateError, match=str(config)):
        read_config(config)


def _no_space(_):
    raise OSError(28, "No space left on device")


@pytest.mark.skipif(os.name != "posix", reason="pipes with names are of POSIX")
def test_what_is_no_file_is_not_replaced_by_one(config):
    """The superuser's MGMT_CONFIG=/dev/null would have cost the machine that device."""
    config.parent.mkdir()
    os.mkfifo(config)
    with pytest.raises(LocalStateError, match="is no file"):
        write_config(config, {"MGMT_BUCKET": "b"})
    assert stat.S_ISFIFO(config.stat().st_mode)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no device without an end")
def test_a_config_file_without_an_end_does_not_fill_the_memory():
    with pytest.raises(LocalStateError, match="/dev/zero is larger than any can be"):
        read_config(Path("/dev/zero"))
    assert read_config(Path(os.devnull)) == {}


def test_what_does_not_change_keeps_its_line_as_it_was_typed(config):
    config.parent.mkdir()
    text = "export MGMT_LOCAL_DIR='/a b'   \n  MGMT_BUCKET = b\n"
    config.write_text(text)
    write_config(config, {"MGMT_LOCAL_DIR": "/a b", "MGMT_BUCKET": "b"})
    assert config.read_text() == text


def test_a_variable_that_was_there_twice_is_there_once(config):
    config.parent.mkdir()
    config.write_text("MGMT_BUCKET=a\n# between\nMGMT_BUCKET=b\n")
    write_config(config, {"MGMT_BUCKET": "c"})
    assert config.read_text() == "MGMT_BUCKET=c\n# between\n"


@pytest.mark.parametrize("value", ["/a b", "'quoted'", '"quoted"', "it's", "a=b", "/end ", "# no comment", "é"])
def test_every_value_is_read_as_it_was_written(config, value):
    write_config(config, {"MGMT_LOCAL_DIR": value})
    assert read_config(config) == {"MGMT_LOCAL_DIR": value}


OLDER = """\
# the studio's settings
AWS_ACCESS_KEY_ID=AKIAEXAMPLE
export AWS_SECRET_ACCESS_KEY="hidden"
# aws_session_token = hidden
#export MGMT_SECRET_KEY=hidden
[default]
MGMT_AWS_SECRET_ACCESS_KEY=hidden
MGMT_TOKEN=hidden
export MGMT_BUCKET="footage"

MGMT_OBJECT_PREFIX=shoots
MGMT_LOCAL_DIR=~/Movies
MGMT_SOMETHING_OLD=1
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with an older mgmt's file, on a system where ours lies elsewhere."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "Library"))
    older = tmp_path / ".config" / "mgmt" / "config"
    older.parent.mkdir(parents=True)
    older.write_text(OLDER)
    return tmp_path


def test_an_older_file_is_read_as_long_as_there_is_none_of_ours(home):
    ours = default_config_path({})
    older = home / ".config" / "mgmt" / "config"
    assert ours != older
    assert config_source(ours, {}) == older
    assert read_config(older)["MGMT_BUCKET"] == "footage"
    write_config(ours, {"MGMT_BUCKET": "b"})
    assert config_source(ours, {}) == ours


def test_a_config_folder_whose_name_no_disk_takes_is_a_sentence(home, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ("x" * 300)))
    ours = default_config_path({})
    assert config_source(ours, {}) == home / ".config" / "mgmt" / "config"
    with pytest.raises(LocalStateError, match="File name too long"):
        read_config(ours)


def test_who_names_a_file_means_that_one(home):
    named = home / "named"
    assert config_source(named, {"MGMT_CONFIG": str(named)}) == named


def test_an_older_file_is_taken_over_without_anything_like_a_credential(home):
    ours, older = default_config_path({}), home / ".config" / "mgmt" / "config"
    write_config(ours, {"MGMT_API_URL": "https://s.example", "MGMT_OBJECT_PREFIX": None}, older)
    assert ours.read_text() == (
        "# the studio's settings\n"
        'export MGMT_BUCKET="footage"\n'
        "\n"
        "MGMT_LOCAL_DIR=~/Movies\n"
        "MGMT_SOMETHING_OLD=1\n"
        "MGMT_API_URL=https://s.example\n"
    )
    assert older.read_text() == OLDER, "an older mgmt can still read it"


def test_on_linux_the_older_file_is_ours_and_loses_nothing(home, monkeypatch):
    monkeypatch.delenv("XDG_CONFIG_HOME")
    ours = default_config_path({})
    if ours != Path(home, ".config", "mgmt", "config"):
        pytest.skip("another system's place")
    write_config(ours, {"MGMT_API_URL": "https://s.example"}, config_source(ours, {}))
    assert ours.read_text() == OLDER + "MGMT_API_URL=https://s.example\n"


def test_a_mark_that_an_editor_of_windows_puts_first_hides_no_setting(config):
    config.parent.mkdir()
    config.write_bytes(b"\xef\xbb\xbfMGMT_BUCKET=footage\r\n")
    assert read_config(config) == {"MGMT_BUCKET": "footage"}
    write_config(config, {"MGMT_BUCKET": "other"})
    assert config.read_bytes() == b"MGMT_BUCKET=other\n"
