"""What is written, and what becomes of a stream that takes no more."""

import errno
import io

from mgmt.show import Output, Style


class NearlyFull(io.TextIOWrapper):
    """A stream whose disk is full at the very end: when the line end is set back, which writes out what is left."""

    def reconfigure(self, **settings):
        if settings == {"newline": None}:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().reconfigure(**settings)


def test_a_disk_that_is_full_after_the_last_line_is_told_as_one_that_was_full_before():
    stream = NearlyFull(io.BytesIO(), encoding="utf-8")
    output = Output(Style(), stdout=stream)
    with output.lines_end_with("\r\n"):
        output.line("a,b")
    assert output.failure is not None
    assert output.failure.errno == errno.ENOSPC
    assert stream.buffer.getvalue() == b"a,b\r\n"
