"""The background process's command line: `python -m mgmt_local serve --state-dir DIR`.

Nobody needs to type it: `mgmt local start` and `mgmt --local` do.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from mgmt_local.process.state import open_state_folder


def main() -> int:
    """Run the backend and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m mgmt_local", description=__doc__)
    commands = parser.add_subparsers(required=True)
    serve_parser = commands.add_parser("serve", help="run the embedded backend in the foreground")
    serve_parser.add_argument("--state-dir", type=Path, help="instead of the user's data directory")
    serve_parser.add_argument("--idle-seconds", type=float, default=600.0, help="end after this long without use")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("mgmt_local").setLevel(logging.INFO)
    from mgmt_local.server import serve

    return serve(open_state_folder(arguments.state_dir), idle_seconds=arguments.idle_seconds)


if __name__ == "__main__":
    sys.exit(main())
