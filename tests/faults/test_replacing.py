"""`--replace` holds for the command that says it, and for no later one."""

import pytest

from support.trees import noise

MB = 1_000_000


@pytest.mark.parametrize("size_bytes", [200_000, 17 * MB], ids=["small", "large"])
def test_what_was_to_be_replaced_by_a_killed_run_is_not_by_one_that_does_not_say_so(team, anna, size_bytes):
    (anna.work / "clip").write_bytes(b"first")
    assert anna.run("upload", "clip").exit_code == 0
    first = team.objects()
    (anna.work / "clip").write_bytes(noise(size_bytes))
    team.storage.fault = lambda put: "stall"
    team.kill_stalled(anna.begin("upload", "--replace", "clip"))
    refused = anna.run("upload", "clip")
    assert refused.exit_code == 6, refused
    assert "--replace" in refused.stderr
    assert team.objects() == first
    assert anna.run("upload", "--replace", "clip").exit_code == 0
    assert team.versions("clip.tar.gz") == 2
    assert team.multipart_uploads() == 0
    statuses = [record["status"] for record in anna.run("--json", "history").records]
    assert sorted(statuses) == ["failed", "success", "success"]
