"""What a person is told beside the result: enough to miss nothing, and no more than fits a screen."""

import os

import pytest


def test_what_is_skipped_is_named_up_to_twenty_and_counted_beyond(team, anna):
    folder = anna.work / "card"
    folder.mkdir()
    (folder / "clip").write_text("x")
    for number in range(25):
        os.mkfifo(folder / f"pipe-{number:02}")
    run = anna.run("upload", "card")
    assert run.exit_code == 0
    assert run.stderr.count("a named pipe") == 20
    assert "5 more entries of card are skipped" in run.stderr
    assert set(team.objects()) == {"card.tar.gz"}


@pytest.mark.parametrize("name", ["nowhere", "nowhere/deeper"])
def test_an_archive_folder_that_is_not_there_is_said_and_nothing_is_sent(team, anna, name):
    (anna.work / "clip").write_text("x")
    run = anna.run("upload", "clip", "--archive-dir", name)
    assert run.exit_code == 2
    assert "nowhere" in run.stderr
    assert "Traceback" not in run.stderr
    assert team.objects() == {}
    assert [path.name for path in anna.work.iterdir()] == ["clip"]


@pytest.mark.parametrize("plan", ["auto", "fast", "best", "store"])
def test_without_isal_it_says_that_packing_is_slower_where_it_is(team, anna, tmp_path, plan):
    (tmp_path / "isal.py").write_text("raise ImportError")
    (anna.work / "clip").write_text("x")
    assert "slower" not in anna.run("upload", "clip", "--as", "quick", "--compression", plan).stderr
    run = anna.run("upload", "clip", "--compression", plan, PYTHONPATH=str(tmp_path))
    assert run.exit_code == 0
    assert ("several times slower here" in run.stderr) is (plan in ("auto", "fast"))
