"""The sentences of `mgmt delete` and `mgmt undelete`."""

import io

import pytest

from mgmt.show import Output, Style
from mgmt.show.removal import RemovalView


@pytest.mark.parametrize(("is_local", "command"), [(False, "mgmt undelete"), (True, "mgmt --local undelete")])
def test_the_question_names_the_command_that_brings_it_back_as_it_is_typed_here(is_local, command):
    view = RemovalView(Output(Style(is_local=is_local), io.StringIO(), io.StringIO()), "delete")
    assert view.ask(2, 30) == f"Delete 2 uploads? For 30 days `{command}` brings back what is deleted."
