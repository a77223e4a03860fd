import pytest

from mgmt.errors import UsageError
from mgmt.settings.answers import accept_answer, is_missing_folder
from support.certificates import make_authority


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "file").write_text("not a folder, no certificate")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("api_url", "example.com", "https://"),
        ("bucket", "s3://footage", "without s3://"),
        ("bucket", "Footage", "a-z"),
        ("bucket", "ab", "3 to 63"),
        ("object_prefix", "a//b", "MGMT_OBJECT_PREFIX"),
        ("object_prefix", "../other", "MGMT_OBJECT_PREFIX"),
        ("object_prefix", "x" * 1100, "1024"),
        ("local_dir", "file", "not a folder"),
        ("completed_dir", "file", "not a folder"),
        ("archive_dir", "file", "not a folder"),
        ("ca_bundle", "file", "PEM"),
        ("ca_bundle", "nowhere.pem", "no such file"),
    ],
)
def test_what_cannot_work_is_refused_with_what_is_expected(name, text, said):
    with pytest.raises(UsageError, match=said):
        accept_answer(name, text, "your answer")


@pytest.mark.parametrize(
    ("name", "text"),
    [("api_url", "https://x.example/stage"), ("bucket", "team.footage-1"), ("object_prefix", "shoots/2026/")],
)
def test_what_can_work_is_kept_as_it_is(name, text):
    assert accept_answer(name, text, "your answer") == text


def test_folders_and_files_are_kept_with_their_whole_path(tmp_path):
    bundle = make_authority(tmp_path).bundle_path
    assert accept_answer("ca_bundle", "company.pem", "x") == str(bundle)
    assert accept_answer("local_dir", "a/../footage", "x") == str(tmp_path / "footage")
    assert accept_answer("completed_dir", "~/done", "x") == str(tmp_path / "home" / "done")


def test_a_folder_that_is_not_there_is_known(tmp_path):
    assert is_missing_folder("local_dir", str(tmp_path / "none"))
    assert not is_missing_folder("local_dir", str(tmp_path))
    assert not is_missing_folder("bucket", "none")


def test_a_name_that_no_disk_takes_is_a_folder_that_is_not_there(tmp_path):
    endless = str(tmp_path / ("x" * 300))
    assert accept_answer("local_dir", endless, "x") == endless
    assert is_missing_folder("local_dir", endless)


def test_in_a_folder_that_is_gone_a_relative_one_means_nothing(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match="whole path"):
        accept_answer("local_dir", "footage", "x")
    assert accept_answer("local_dir", str(tmp_path), "x") == str(tmp_path)
