"""What Hypothesis draws: the same cases in each run, on a slow machine too."""

import importlib.util
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CODE = "NAMES = ['constant one', 'constant two', 'constant three', 'constant four']\n"


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Give a function that loads a module of the project that nobody has loaded before."""

    def load_one(name):
        path = tmp_path / f"{name}.py"
        path.write_text(CODE)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)

    return load_one


def draw_texts(config):
    if config.getoption("hypothesis_seed") is not None:
        pytest.skip("a seed is there to draw others")
    drawn = []

    @settings(max_examples=500)
    @given(st.text())
    def note(text):
        drawn.append(text)

    note()
    return drawn


def test_cases_do_not_depend_on_the_modules_that_other_tests_have_loaded(load, pytestconfig):
    before = draw_texts(pytestconfig)
    load("mgmt_loaded_meanwhile")
    assert draw_texts(pytestconfig) == before


def test_no_case_fails_because_the_machine_is_slow():
    assert settings.default.deadline is None
    assert HealthCheck.too_slow in settings.default.suppress_health_check
