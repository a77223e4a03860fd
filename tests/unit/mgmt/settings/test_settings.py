import pytest

from mgmt.errors import NotConfiguredError, UsageError
from mgmt.settings import Settings, default_config_path, resolve_settings, state_directory, write_config


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


def test_a_password_in_the_address_is_refused_without_being_shown(config):
    for url in ("https://user:hidden@x.example", "ftp://user:hidden@x.example/?q", "http://:hidden@x.example"):
        with pytest.raises(UsageError, match="MGMT_TOKEN") as caught:
            resolve_settings({"MGMT_API_URL": url}, config)
        assert "hidden" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MGMT_API_URL", "https://[::1"),
        ("MGMT_API_URL", "https://x.example:port"),
        ("MGMT_OBJECT_PREFIX", "a\nMGMT_API_URL=https://evil.example"),
        ("MGMT_BUCKET", "a\x1b[2J"),
        ("MGMT_LOCAL_DIR", "~nobody-of-that-name/x"),
    ],
)
def test_a_value_that_cannot_work_says_where_it_came_from(config, name, value):
    with pytest.raises(UsageError, match=rf"{name}.*environment"):
        resolve_settings({name: value}, config)


def test_a_relative_folder_in_the_environment_stays_relative_to_where_one_stands(config):
    assert str(resolve_settings({"MGMT_LOCAL_DIR": "footage"}, config).local_dir) == "footage"
