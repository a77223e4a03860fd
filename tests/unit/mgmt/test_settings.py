import os
import stat

import pytest

from mgmt.errors import LocalStateError, NotConfiguredError, UsageError
from mgmt.settings import Settings, default_config_path, read_config, resolve_settings, state_directory, write_config


@pytest.fixture
def config(tmp_path):
    return tmp_path / "mgmt" / "config"


def test_option_beats_environment_beats_file_beats_default(config):
    write_config(config, {"MGMT_OBJECT_PREFIX": "file", "MGMT_BUCKET": "file", "MGMT_LOCAL_DIR": "/file"})
    environment = {"MGMT_OBJECT_PREFIX": "environment", "MGMT_BUCKET": "environment"}
    settings = resolve_settings(environment, config, {"object_prefix": "option"})
    assert (settings.object_prefix, settings.bucket, str(settings.local_dir)) == ("option", "environment", "/file")
    assert settings.completed_dir is None
    assert settings.origins == {"object_prefix": "option", "bucket": "environment", "local_dir": str(config)}


def test_an_empty_value_is_no_value(config):
    assert resolve_settings({"MGMT_BUCKET": ""}, config, {"bucket": None}).bucket is None


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


@pytest.mark.parametrize(
    "url",
    [
        "example.com",
        "ftp://example.com",
        "https://",
        "https://x/?q=1",
        "https://x/#f",
        "http://example.com",
        "https://user:pw@x",
    ],
)
def test_an_address_that_cannot_work_or_would_leak_the_token_is_refused(config, url):
    with pytest.raises(UsageError, match="MGMT_API_URL"):
        resolve_settings({"MGMT_API_URL": url}, config)


@pytest.mark.parametrize("url", ["https://x.example/stage", "http://127.0.0.1:8080", "http://localhost:1"])
def test_https_and_loopback_addresses_are_fine(config, url):
    assert resolve_settings({"MGMT_API_URL": url}, config).require_api_url() == url


def test_a_missing_address_says_what_to_run():
    with pytest.raises(NotConfiguredError, match="mgmt config"):
        Settings().require_api_url()


def test_a_token_is_in_no_representation(config):
    assert "sesame" not in repr(resolve_settings({"MGMT_TOKEN": "sesame"}, config))


def test_places_can_be_moved(tmp_path):
    environment = {"MGMT_CONFIG": str(tmp_path / "c"), "MGMT_STATE_DIR": str(tmp_path / "s")}
    assert default_config_path(environment) == tmp_path / "c"
    assert state_directory(environment) == tmp_path / "s"


def test_without_being_told_places_are_the_systems(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert default_config_path({}).is_relative_to(tmp_path)
    assert state_directory({}).is_relative_to(tmp_path)


def _no_space(_):
    raise OSError(28, "No space left on device")
