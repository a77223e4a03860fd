"""How many files may be open, and what a command does with that."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")

TRY = """
import resource, sys
from mgmt.machine.files import raise_limit, workers_max
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
raise_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE), workers_max())
"""


def tried(soft, hard):
    done = subprocess.run(
        [sys.executable, "-c", TRY, str(soft), str(hard)], capture_output=True, text=True, check=True, timeout=30
    )
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize(
    ("soft", "hard", "becomes"), [(128, 128, 128), (128, 256, 256), (256, 8192, 4096), (5000, 8192, 5000)]
)
def test_the_soft_limit_is_raised_as_far_as_it_may_and_is_of_use(soft, hard, becomes):
    assert tried(soft, hard)[:2] == [becomes, hard]


@pytest.mark.parametrize(("limit", "workers"), [(128, 44), (256, 108), (30, 1)])
def test_no_more_goes_on_at_a_time_than_files_may_be_open(limit, workers):
    assert tried(limit, limit)[2] == workers
