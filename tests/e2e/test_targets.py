"""Named targets, and `all`: what is not there is told at once, and nothing is left out or dropped in silence."""

import pytest

from support.trees import noise

MB = 1_000_000


def notices(run):
    return [line["message"] for line in run.lines if line["type"] == "notice"]


def test_a_mistyped_name_is_told_before_the_first_byte_is_sent_and_the_others_go(team, anna):
    """Also behind a large one, which takes all the time there is before the next target's turn."""
    (anna.work / "big.mov").write_bytes(noise(18 * MB))
    (anna.work / "small").mkdir()
    run = anna.run("--json", "upload", "big.mov", "smal", "small")
    assert run.exit_code == 3
    assert (run.lines[0]["target_path"], run.lines[0]["status"]) == ("smal", "failed")
    assert set(team.objects()) == {"big.mov.tar.gz", "small.tar.gz"}


def test_a_single_mistyped_name_has_its_own_exit_code(team, anna):
    assert anna.run("upload", "smal").exit_code == 4


@pytest.mark.parametrize("name", ["there", "gone"])
def test_a_name_twice_is_one_target(team, anna, name):
    (anna.work / "there").write_text("x")
    run = anna.run("--json", "upload", name, name)
    assert run.exit_code == (0 if name == "there" else 4)
    assert run.lines[-1]["succeeded"] + run.lines[-1]["failed"] == 1
    assert notices(run) == [f"{name} is named more than once; it is uploaded once."]


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_what_is_not_there_takes_no_name_from_what_is(team, anna, more):
    (anna.work / "b" / "DCIM").mkdir(parents=True)
    (anna.work / "link").symlink_to("nowhere")
    run = anna.run("--json", "upload", "a/DCIM", "link/DCIM", "b/DCIM", *more)
    assert run.exit_code == 3
    assert (run.lines[-1]["succeeded"], run.lines[-1]["failed"]) == (1, 2)


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_options_that_change_nothing_of_what_is_there_are_named(team, anna, more):
    for name in ("a", "b"):
        (anna.work / name).write_text(name)
    assert anna.run("upload", "a").exit_code == 0
    wishes = ("--storage-class", "GLACIER", "--tag", "a=b")
    run = anna.run("--json", "upload", "a", *wishes, *more)
    assert run.exit_code == 0
    [said] = notices(run)
    assert "--storage-class GLACIER and --tag a=b changed nothing of it" in said
    assert notices(anna.run("--json", "upload", "a", *more)) == []
    assert notices(anna.run("--json", "upload", "b", *wishes, *more)) == []


def test_all_names_the_folders_that_it_leaves_out(team, anna):
    for name in ("cards", "done", "moved"):
        (anna.work / name).mkdir()
        (anna.work / name / "clip").write_text(name)
    command = ("--json", "upload", "--archive-dir", "cards", "--move-completed", "--completed-dir=moved", "all")
    run = anna.run(*command, MGMT_COMPLETED_DIR=str(anna.work / "done"))
    assert (run.exit_code, team.objects()) == (0, {})
    assert notices(run) == [
        "cards is left out: archives are made in it (--archive-dir).",
        "done is left out: originals that are uploaded already are in it (MGMT_COMPLETED_DIR).",
        "moved is left out: originals that are uploaded already are in it (--move-completed).",
    ]


def test_what_can_be_no_name_fails_by_itself_and_the_others_go(team, anna):
    (anna.work / "clip").write_text("x")
    run = anna.run("--json", "upload", "x" * 256, "clip")
    assert run.exit_code == 3
    assert set(team.objects()) == {"clip.tar.gz"}
