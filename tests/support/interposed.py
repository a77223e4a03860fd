"""A store whose calls can be watched, and made to fail, before or after their effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from mgmt_api.ports import ObjectStore, RecordStore

Hook = Callable[[str], None]


def _pass(_: str) -> None:
    """Let the call happen."""


class _Interposed:
    def __init__(self, store: object, before: Hook, after: Hook) -> None:
        self._store = store
        self._before = before
        self._after = after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self._before(name)
            result = method(*arguments, **named)
            self._after(name)
            return result

        return call


def interpose_records(store: RecordStore, *, before: Hook = _pass, after: Hook = _pass) -> RecordStore:
    """Put hooks before and after every call of a record store; each gets the method's name."""
    return cast("RecordStore", _Interposed(store, before, after))


def interpose_objects(store: ObjectStore, *, before: Hook = _pass, after: Hook = _pass) -> ObjectStore:
    """Put hooks before and after every call of an object store; each gets the method's name."""
    return cast("ObjectStore", _Interposed(store, before, after))


class _Refusing:
    def __init__(self, store: object, errors: Mapping[str, Exception]) -> None:
        self._store = store
        self._errors = errors

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(first: Any, *arguments: Any, **named: Any) -> Any:
            asked = [first] if isinstance(first, str) else list(first)
            for each in self._errors.keys() & asked:
                raise self._errors[each]
            return method(first if isinstance(first, str) else asked, *arguments, **named)

        return call if name in ("head_object", "get_operations", "get_names") else method


def refuse_some(store: Any, errors: Mapping[str, Exception]) -> Any:
    """Have each read that names one of these objects, names or operations raise its error; all others are answered."""
    return _Refusing(store, errors)


class CrashError(Exception):
    """The function's process is gone."""


class Crash:
    """A crash of the service, planned for one of the next calls of its stores."""

    def __init__(self) -> None:
        self._calls_left = 0
        self._when = ""
        self.count = 0
        """Crashes so far."""
        self.hooks = {"before": self._make_hook("before"), "after": self._make_hook("after")}
        """Hooks for `interpose_records` and `interpose_objects`, which count the calls of both."""

    def plan(self, number: int, when: str) -> None:
        """Crash "before" or "after" the call with this number from now on; the first is 1."""
        self._calls_left, self._when = number, when

    def call_off(self) -> None:
        """Crash in no call that comes."""
        self._calls_left = 0

    def _make_hook(self, when: str) -> Hook:
        def meet(_: str) -> None:
            if self._calls_left and self._when == when:
                self._calls_left -= 1
                if not self._calls_left:
                    self.count += 1
                    raise CrashError

        return meet


def fail_at(method: str, error: Exception, *, times: int = 1) -> Hook:
    """Make a hook that raises at the first calls of one method."""
    left = [error] * times

    def hook(name: str) -> None:
        if name != method:
            return
        try:
            taken = left.pop()  # one step: of several threads no two take the same
        except IndexError:
            return
        raise taken

    return hook
