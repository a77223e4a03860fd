"""A laptop whose clock is a day off: nothing the client does depends on what time it is."""

import os
import shutil
import subprocess
import sys

import pytest

DAY_SECONDS = 86_400
SHIFT = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long shift(void) { const char *by = getenv("CLOCK_SHIFT_SECONDS"); return by ? atol(by) : 0; }
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
    return result;
}
time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""


@pytest.fixture(scope="module")
def shifted(tmp_path_factory):
    """A library that moves the wall clock of the process that loads it."""
    compiler = shutil.which("cc")
    if not sys.platform.startswith("linux") or compiler is None:
        pytest.skip("needs a C compiler and LD_PRELOAD")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "shift.c").write_text(SHIFT)
    library = folder / "shift.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "shift.c", "-ldl"], check=True)
    return library


@pytest.mark.parametrize("seconds", [-DAY_SECONDS, DAY_SECONDS])
def test_a_clock_that_is_a_day_off_changes_nothing(team, anna, shifted, seconds):
    environment = {"LD_PRELOAD": os.fspath(shifted), "CLOCK_SHIFT_SECONDS": str(seconds)}
    told = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    here = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"], capture_output=True, text=True, check=True
    )
    assert abs(float(told.stdout) - float(here.stdout) - seconds) < 60, "the clock is really shifted"
    (anna.work / "card").mkdir()
    (anna.work / "card" / "clip").write_bytes(os.urandom(17_000_000))
    (anna.work / "small").write_bytes(b"footage")
    run = anna.run("--json", "upload", "card", "small", **environment)
    assert run.exit_code == 0, run.stderr
    assert run.lines[-1]["succeeded"] == 2
    again = anna.run("--json", "upload", "card", "small")
    assert again.lines[-1] == {"type": "summary", "succeeded": 0, "failed": 0, "skipped": 2}
    for options in ([], ["--extract"]):
        back = anna.work / f"back{len(options)}"
        back.mkdir()
        run = anna.run("download", "card", "--to", str(back), *options, **environment)
        assert (run.exit_code, len(list(back.iterdir()))) == (0, 1), run.stderr
    assert anna.run("delete", "--yes", "small", **environment).exit_code == 0
    records = anna.run("--json", "history", **environment).records
    assert {record["status"] for record in records} == {"success"}
    assert len(records) == 2 + 2 + 1
    assert all(record["started_at"] <= record["finished_at"] for record in records), "the times are the service's"
    assert {path.name for path in anna.work.rglob("*.tar.gz*")} == {"card.tar.gz"}, "the one that was downloaded"
    told = {path.name[:8] for path in (anna.folder / "state" / "log").iterdir()}
    assert len(told) >= 2, "each log is called by the clock of its run, and none takes another's place"
