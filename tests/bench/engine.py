"""SeaweedFS in a process of its own: `python -m bench.engine FOLDER`, with its keys in the environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.processes import answer_lines
from bench.stages import BUCKET
from mgmt_local.engine.seaweedfs import StorageEngine


def main() -> None:
    """Serve until the input ends; each line is answered with the port."""
    access_key, secret_key = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    with StorageEngine.start(Path(sys.argv[1]), access_key=access_key, secret_key=secret_key) as engine:
        engine.ensure_bucket(BUCKET)
        answer_lines(lambda _: {"port": engine.ports.s3})


if __name__ == "__main__":
    main()
