"""The ancestor's way: `tarfile` packs with level 9, then boto3 uploads, one after the other.

    python ancestor.py pack SOURCE ARCHIVE
    python ancestor.py upload ENDPOINT BUCKET PREFIX FOLDER SOURCE...

Runs with the peers' own environment, and so imports nothing of the project.
"""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path


def pack(source: Path, archive_path: Path) -> None:
    """Pack as `tarfile` does by default."""
    with tarfile.open(archive_path, "w:gz") as archive:
        archive.add(source, arcname=source.name)


def upload(endpoint_url: str, bucket: str, prefix: str, folder: Path, sources: list[Path]) -> None:
    """Pack, upload and remove, source by source."""
    import boto3  # only where it is used: the ancestor's packing alone need not pay for it

    client = boto3.client("s3", endpoint_url=endpoint_url)
    for source in sources:
        archive_path = folder / f"{source.name}.tar.gz"
        pack(source, archive_path)
        with archive_path.open("rb") as file:
            client.upload_fileobj(file, bucket, f"{prefix}/{archive_path.name}")
        archive_path.unlink()


if __name__ == "__main__":
    if sys.argv[1] == "pack":
        pack(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        upload(sys.argv[2], sys.argv[3], sys.argv[4], Path(sys.argv[5]), [Path(word) for word in sys.argv[6:]])
