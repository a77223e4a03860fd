"""How long the rest takes: right in kind whatever is left, as simulated runs show."""

import pytest

from mgmt.show.underway import WINDOW_SECONDS, Pace

MB = 1_000_000


class Run:
    """Sends things over a link, each taking some time beside its bytes, and asks at every second what is left."""

    def __init__(self, sizes, bytes_per_second, seconds_each):
        self.pace, self.now = Pace(), 100.0
        self.guesses = []
        moved, left = 0, sum(sizes)
        self.pace.note(self.now, 0, 0)
        for ended, size in enumerate(sizes):
            seconds = size / bytes_per_second + seconds_each
            steps = max(1, int(seconds / 0.1))
            for _ in range(steps):
                self.now += seconds / steps
                moved, left = moved + size / steps, left - size / steps
                self.pace.note(self.now, moved, ended)
                self.guesses.append((self.now, self.pace.left_seconds(self.now, left, len(sizes) - ended)))
            self.pace.note(self.now, moved, ended + 1)

    def worst(self, after_seconds=5):
        """How many times too much or too little was said at worst, of what takes more than a few seconds."""
        said = [(self.now - at, guess) for at, guess in self.guesses if at > 100 + after_seconds and self.now - at > 3]
        return max(max(guess / left, left / guess) for left, guess in said)


@pytest.mark.parametrize(
    ("sizes", "bytes_per_second", "seconds_each"),
    [
        ([400 * MB], 20 * MB, 0.1),
        ([40 * MB] * 10, 2 * MB, 0.1),
        ([50_000] * 3000, 20 * MB, 0.01),
        ([50_000] * 3000, 1 * MB, 0.01),
        ([2_000] * 3000, 20 * MB, 0.01),
        ([400 * MB] + [2_000] * 2000, 20 * MB, 0.01),
        ([200 * MB, 1000, 1000, 1000, 200 * MB], 20 * MB, 0.1),
    ],
    ids=["one", "slow", "small", "small and slow", "tiny", "one large and many tiny", "mixed"],
)
def test_the_time_left_is_right_within_a_factor_of_about_two(sizes, bytes_per_second, seconds_each):
    assert Run(sizes, bytes_per_second, seconds_each).worst() < 2.2


def test_many_tiny_ones_before_a_large_one_do_not_make_hours_of_it():
    """Their bytes alone would say that the large one takes half an hour; it takes twenty seconds."""
    run = Run([2_000] * 2000 + [400 * MB], 20 * MB, 0.01)
    assert run.worst(after_seconds=30) < 2.2
    assert max(guess for _, guess in run.guesses if guess is not None) < 600


def test_nothing_is_said_before_something_has_moved_and_when_nothing_moves_any_more():
    pace = Pace()
    assert pace.left_seconds(100, MB, 1) is None
    pace.note(100, 0, 0)
    assert pace.left_seconds(130, MB, 1) is None
    pace.note(130, 0, 0)
    pace.note(132, MB, 0)
    assert pace.left_seconds(132, MB, 1) == pytest.approx(2, abs=0.1)
    assert pace.left_seconds(132 + WINDOW_SECONDS, MB, 1) is None
