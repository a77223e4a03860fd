"""Settings, answers and stored objects: the list's part about the service."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from mgmt_local.control import Endpoint
from support.inputs import Case, each
from support.local_backend import Person
from support.studio import item_for
from support.trees import noise


def clip(work):
    """Make the file that everybody uploads here."""
    (work / "clip.mov").write_bytes(noise(10_000))


@each(
    Case("no configuration", "", ["upload", "clip.mov"], 10,
         ["No service is configured (MGMT_API_URL)", "mgmt config", "mgmt --local"], clip,
         environment={"MGMT_API_URL": None}),
    Case("no configuration", "no token", ["upload", "clip.mov"], 5,
         ["You are not signed in to", "mgmt login", "MGMT_TOKEN"], clip, environment={"MGMT_TOKEN": None}),
    Case("bad URL", "no URL at all", ["upload", "clip.mov"],
         2, ["MGMT_API_URL is 'media'", "expected an address such as https://"], clip,
         environment={"MGMT_API_URL": "media"}),
    Case("bad URL", "without TLS", ["upload", "clip.mov"],
         2, ["without TLS anyone on the way could read the token", "https://"], clip,
         environment={"MGMT_API_URL": "http://media.example"}),
    Case("bad URL", "with a password in it", ["upload", "clip.mov"], 2, ["holds a user or a password", "MGMT_TOKEN"],
         clip,
         environment={"MGMT_API_URL": "https://anna:secret@media.example"}),
    Case("bad URL", "with a port that is none", ["upload", "clip.mov"],
         2, ["MGMT_API_URL", "xpected an address such as https://"], clip,
         environment={"MGMT_API_URL": "https://media.example:port"}),
    Case("bucket pin that differs", "", ["upload", "clip.mov"], 10, ["footage-of-another-team", "MGMT_BUCKET"], clip,
         environment={"MGMT_BUCKET": "footage-of-another-team"}),
    Case("company CA", "a file that is not there", ["upload", "clip.mov"], 10, ["MGMT_CA_BUNDLE", "no such file"],
         clip,
         environment={"MGMT_CA_BUNDLE": "/nowhere/ca.pem"}),
    Case("locale C", "", ["upload", "Café 🎬.mov"], 0, ["✓ Café 🎬.mov"],
         lambda work: (work / "Café 🎬.mov").write_bytes(b"x"),
         {"Café 🎬.mov.tar.gz": "Café 🎬.mov"}, environment={"LC_ALL": "C", "LANG": "C"}),
    Case("locale C", "and a terminal's encoding that knows ASCII only", ["upload", "Café.mov"], 0, ["Caf\\xe9.mov"],
         lambda work: (work / "Café.mov").write_bytes(b"x"), {"Café.mov.tar.gz": "Café.mov"},
         environment={"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}),
)  # fmt: skip
def test_input(desk, case):
    desk.try_case(case)


# --- what is stored there already ------------------------------------------------------------------------


def other_laptop(desk, folder, person="bert"):
    """Give somebody else a laptop of the same team, storing under the same prefix."""
    laptop = desk.team.laptop(folder / person, person)
    laptop.environment["MGMT_OBJECT_PREFIX"] = desk.prefix
    return laptop


@pytest.mark.entry("name reserved by somebody else")
def test_a_name_that_somebody_else_is_uploading(desk, tmp_path):
    clip(desk.work)
    bert = other_laptop(desk, tmp_path)
    person = Person(Endpoint(desk.team.url, bert.environment["MGMT_TOKEN"]))
    person.start(item_for("clip.mov", b"other", prefix=desk.prefix))
    run = desk.run("upload", "clip.mov")
    desk.check(run, 6, ["bert", "clip.mov"])


@pytest.mark.entry("other content there")
def test_other_content_under_the_name(desk, tmp_path):
    clip(desk.work)
    bert = other_laptop(desk, tmp_path)
    (bert.work / "clip.mov").write_bytes(b"other")
    assert bert.run("upload", "clip.mov").exit_code == 0
    before = objects(desk)
    run = desk.run("upload", "clip.mov")
    desk.check(run, 6, ["bert", "--replace", "--as"], stores=None)
    assert objects(desk) == before


def objects(desk):
    """Return the versions of this input's objects."""
    listed = desk.team.s3.list_object_versions(Bucket=desk.team.bucket, Prefix=desk.prefix + "/")
    return [each["VersionId"] for each in listed["Versions"]]


@pytest.mark.entry("same content there under this name")
def test_the_same_content_under_this_name(desk, tmp_path):
    clip(desk.work)
    bert = other_laptop(desk, tmp_path)
    shutil.copy2(desk.work / "clip.mov", bert.work)
    assert bert.run("upload", "clip.mov").exit_code == 0
    sent = len(desk.team.storage.puts)
    run = desk.run("upload", "clip.mov")
    assert len(desk.team.storage.puts) == sent
    desk.check(
        run, 0, ["clip.mov is already there as", "uploaded by bert"], stores=None, does="sends nothing: already there"
    )


@pytest.mark.entry("same content there under another name")
def test_the_same_content_under_another_name(desk):
    clip(desk.work)
    assert desk.run("upload", "clip.mov").exit_code == 0
    run = desk.run("upload", "clip.mov", "--as", "take-2.mov")
    desk.check(run, 0, ["✓ clip.mov"], stores={"clip.mov.tar.gz": "clip.mov", "take-2.mov.tar.gz": "clip.mov"})


@pytest.mark.entry("object there but unknown to the records")
def test_an_object_that_no_record_knows(desk):
    """It shows only when the bytes arrive, so the archive is kept; the next try takes it up and ends clean."""
    clip(desk.work)
    desk.team.s3.put_object(Bucket=desk.team.bucket, Key=f"{desk.prefix}/clip.mov.tar.gz", Body=b"by hand")
    before = objects(desk)
    run = desk.run("upload", "clip.mov")
    assert objects(desk) == before
    sentence = ["clip.mov.tar.gz", "outside this service", "--as", "--replace", "kept at"]
    desk.check(run, 6, sentence, stores=None, changed=["clip.mov.tar.gz"], is_resumable=True)
    again = desk.run("upload", "clip.mov", "--replace")
    assert again.exit_code == 0
    assert [path.name for path in desk.work.iterdir()] == ["clip.mov"]


# --- clocks ----------------------------------------------------------------------------------------------


@pytest.fixture
def service_clock(desk):
    """Set how far the service's clock is ahead of ours; right again afterwards."""

    def ahead(days):
        desk.team.ahead = timedelta(days=days)

    yield ahead
    ahead(0)


@pytest.mark.parametrize(
    "days",
    [
        pytest.param(days, marks=pytest.mark.entry("clock wrong by a day", where))
        for days, where in ((1, "behind"), (-1, "ahead"))
    ],
)
def test_a_clock_that_is_a_day_off_the_service(desk, service_clock, days):
    clip(desk.work)
    service_clock(days)
    run = desk.run("upload", "clip.mov")
    desk.check(run, 0, ["✓ clip.mov"], stores={"clip.mov.tar.gz": "clip.mov"})


FAKE_TIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


@pytest.mark.skipif(FAKE_TIME is None, reason="libfaketime is not installed (`make tools` does)")
@pytest.mark.parametrize(
    "offset",
    [
        pytest.param(offset, marks=pytest.mark.entry("clock wrong by a day", f"this machine's: {offset}"))
        for offset in ("-1d", "+1d")
    ],
)
def test_a_machine_whose_clock_is_a_day_off_everything_else(desk, offset):
    clip(desk.work)
    run = desk.run("upload", "clip.mov", environment={"LD_PRELOAD": str(FAKE_TIME), "FAKETIME": offset})
    desk.check(run, 0, ["✓ clip.mov"], stores={"clip.mov.tar.gz": "clip.mov"})
