"""Says what to do with a word that is no command: the nearest one, or what mgmt has for what was meant."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_UPLOAD: Final = "`mgmt upload FILE` stores a file or folder."
_LIST: Final = "`mgmt history` lists what is stored."
_SHOW: Final = "`mgmt show NAME` tells all about one upload."
_CONTENTS: Final = "`mgmt contents NAME` lists the files in an upload."
_CONFIG: Final = "`mgmt config` asks for the settings."
_LOGIN: Final = "`mgmt login` signs you in, `mgmt whoami` tells who is."
_FETCH: Final = "`mgmt download NAME` gets an upload back."
_SAFE: Final = "`mgmt safe PATH` tells whether all of a card is stored."
_REMOVE: Final = "`mgmt delete NAME` deletes an upload; it can be brought back for some weeks."
_BACK: Final = "`mgmt undelete NAME` brings a deleted upload back, `mgmt download NAME` fetches one."
_AGAIN: Final = "`mgmt resume` goes on with what was interrupted or failed."
_CANCEL: Final = "`mgmt cancel NAME` gives an unfinished upload up."
_LOCAL: Final = "`mgmt local start` runs the service on this machine."

POINTERS: Final = {
    **dict.fromkeys(("add", "backup", "copy", "cp", "push", "put", "send", "store", "sync"), _UPLOAD),
    **dict.fromkeys(("dir", "find", "list", "log", "ls", "recent", "search"), _LIST),
    **dict.fromkeys(("files", "members", "tree"), _CONTENTS),
    **dict.fromkeys(("cat", "describe", "info", "inspect", "stat", "status"), _SHOW),
    **dict.fromkeys(("configure", "init", "set", "settings", "setup"), _CONFIG),
    **dict.fromkeys(("auth", "signin", "sso"), _LOGIN),
    **dict.fromkeys(("fetch", "get", "pull", "restore", "unpack"), _FETCH),
    **dict.fromkeys(("check", "erase", "format"), _SAFE),
    **dict.fromkeys(("del", "remove", "rm"), _REMOVE),
    **dict.fromkeys(("recover", "undo"), _BACK),
    **dict.fromkeys(("continue", "finish", "retry"), _AGAIN),
    **dict.fromkeys(("abort", "kill", "stop"), _CANCEL),
    **dict.fromkeys(("demo", "run", "serve", "server", "start", "try"), _LOCAL),
    "version": "`mgmt --version` tells it.",
}
"""Words that people try, and what there is."""


def explain_unknown_command(word: str, path: str, commands: Iterable[str]) -> str:
    """Say that a word is no command, and what is.

    >>> explain_unknown_command("uplaod", "mgmt", ["upload", "show"])
    "There is no command 'uplaod'. Did you mean `mgmt upload`?"
    """
    said = f"There is no command {word!r}."
    commands = list(commands)
    nearest = get_close_matches(word.lower(), commands, n=1)
    is_root = path == "mgmt"
    if word.lower() == "help":
        return f"{said} `{path} --help` shows what there is."
    if is_root and word.lower() in POINTERS:
        return f"{said} {POINTERS[word.lower()]}"
    if nearest:
        return f"{said} Did you mean `{path} {nearest[0]}`?"
    if is_root and os.path.lexists(word):
        return f"{said} To upload '{word}': `mgmt upload {shlex.quote(word)}`."
    return f"{said} Expected one of: {', '.join(commands)}."
