"""Secrets stay secret: real commands with real secrets, and all that they and the service have written is searched."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil  # type: ignore[import-untyped]  # its types are a distribution of their own

from support.team import Laptop, Team

CLIENT_SECRET = "marked-client-secret-0123456789"
COMMANDS = (
    ("-v", "upload", "card"),
    ("--json", "upload", "card"),
    ("-v", "upload", "card", "--replace"),
    ("-v", "upload", "nothing"),
    ("-v", "download", "card", "--to", "back"),
    ("--json", "download", "card", "--to", "again", "--extract"),
    ("-v", "contents", "card"),
    ("-v", "safe", "card"),
    ("-v", "history"),
    ("--json", "history", "--csv"),
    ("-v", "show", "card"),
    ("-v", "whoami"),
    ("config", "list"),
    ("config", "set", "token", "x"),
    ("-v", "delete", "card", "--yes"),
    ("-v", "undelete", "card"),
    ("--json", "delete", "no-such-name", "--yes"),
)


def secrets_of(team: Team, laptop: Laptop) -> set[str]:
    """Every secret that these runs have really used: of the token each part, of URLs the signatures and keys."""
    token = laptop.environment["MGMT_TOKEN"]
    found = {token, token[:40], token.rsplit(".", 1)[1], CLIENT_SECRET}
    sent = [each.path for each in (*team.storage.puts, *team.storage.index_puts)]
    for path in sent:
        query = parse_qs(urlsplit(path).query)
        found |= {query[name][0] for name in ("X-Amz-Signature", "X-Amz-Credential") if name in query}
    return found


def written_in(*folders: Path) -> dict[Path, bytes]:
    """Read every file below some folders."""
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def test_no_command_writes_a_secret_anywhere(team: Team, anna: Laptop, caplog):
    """Its screen, its logs, its journal, the records, the service's and the worker's log."""
    caplog.set_level(logging.INFO)  # as the function's and the embedded backend's
    caplog.set_level(logging.DEBUG, "mgmt_api")
    (anna.work / "card").mkdir()
    (anna.work / "card" / "clip.mov").write_bytes(os.urandom(20_000_000))
    for folder in ("back", "again"):
        (anna.work / folder).mkdir()
    team.storage.fault = lambda put: "refuse" if put.attempt == 0 else "none"
    said = {}
    for command in COMMANDS:
        run = anna.run(*command, MGMT_CLIENT_SECRET=CLIENT_SECRET)
        said[command] = run.stdout + run.stderr
    team.go_round()
    secrets = secrets_of(team, anna)
    assert len(secrets) > 7, "several signatures were used"
    assert '"succeeded":1' in said["--json", "download", "card", "--to", "again", "--extract"]
    files = written_in(anna.folder, team.folder)
    assert any(path.suffix == ".log" for path in files)
    assert any("records" in path.name for path in files)
    found = [(command, secret) for command, text in said.items() for secret in secrets if secret in text]
    found += [(path, secret) for path, text in files.items() for secret in secrets if secret.encode() in text]
    found += [(line.name, secret) for line in caplog.records for secret in secrets if secret in str(vars(line))]
    assert not found


def test_no_secret_is_in_the_list_of_processes(team: Team, anna: Laptop):
    """Where every user of the machine can read the words of a command, and of all that it starts."""
    (anna.work / "clip.mov").write_bytes(b"footage")
    seen: list[list[str]] = []

    def look(_: object) -> str:
        seen.extend(process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
        return "none"

    team.storage.fault = look  # type: ignore[assignment]
    run = anna.run("upload", "clip.mov", MGMT_CLIENT_SECRET=CLIENT_SECRET)
    assert run.exit_code == 0, run.stderr
    words = " ".join(word for command in seen for word in command)
    assert "upload clip.mov" in words
    assert not [secret for secret in secrets_of(team, anna) if secret in words]
