"""docs/from-the-document.md names everything of the upload process document, and only what exists."""

import ast
import dataclasses
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "from-the-document.md").read_text(encoding="utf-8")

WORDS = {
    "FileRecord": ["`name`", "`path`", "`location`", "`size`", "`is_directory`", "`status`"],
    "OperationRecord": [
        "`operation_id`", "`operation_type`", "`target_path`", "`started_at`", "`status`", "`result_path`",
        "`error_message`",
    ],
    "UploadRecord": [
        "`compression_type`", "`compressed_file_path`", "`s3_bucket`", "`s3_object_key`", "`source_file_record`",
        "`compressed_file_record`", "`s3_file_record`", "`__post_init__`",
    ],
    "Values": [
        "location `local`, `s3`", "file status `pending`, `completed`, `failed`, `deleted`",
        "operation status `pending`, `success`, `failed`", "pending → completed/deleted",
        "three records, one `operation_id`",
    ],
    "Stage 1: File Selection & Validation": [
        "a filename, or `all`", "validate that it exists", "skip system files", "file or directory",
        "source FileRecord",
    ],
    "Stage 2: Compression": [
        "create tar.gz archive", "in the same directory", "`{original_name}.tar.gz`", "compressed FileRecord",
    ],
    "Stage 3: S3 Upload": [
        "upload to S3", "key with `MGMT_OBJECT_PREFIX`", "`{prefix}/{filename}.tar.gz` or `{filename}.tar.gz`",
        "S3 FileRecord",
    ],
    "Stage 4: Cleanup": [
        "remove after success", "only what was uploaded", "keep it if the upload fails", 'status "deleted"',
    ],
    "The complete example flow": [
        "original unchanged", "compressed file deleted", "S3 object available", "UploadRecord tracks the operation",
        "three FileRecords, one per stage",
    ],
    "Key methods": [
        "`AwsStorageMgmt.upload_target()`", "`FileManager.gzip_process()`", "`AwsStorageMgmt.upload_file()`",
    ],
    "Configuration": ["`MGMT_BUCKET`", "`MGMT_OBJECT_PREFIX`", "`MGMT_LOCAL_DIR`", "`mgmt config`"],
    "Error handling": ["Upload failures", "Deletion failures", "Missing configuration", "Invalid file/directory"],
    "Future enhancements": [
        "Track upload history and metadata", "Move original files to a completed directory",
        "Verify uploads with checksums", "Calculate and display compression statistics",
        "Support for upload retry mechanisms", "Query upload history", "download, delete",
    ],
    "kind": ["Serverless-assisted", "hybrid tool"],
    "packages": ["`boto3`", "`aws-lambda-powertools`", "`click`", "`aws-cdk-lib`", "`moto`"],
    "top-level": ["`pyproject.toml`", "`client`", "`lambda`", "`infra`", "`tests`", "`README.md`"],
    "shape": [
        "a local client validates", "compresses", "uploads via presigned URLs", "obtained from a Lambda endpoint",
        "records UploadRecords in DynamoDB", "confirms completion", "before the client deletes the archive",
    ],
    "used-by": [
        "CLI on laptops without long-lived AWS keys", "team-shared upload history", "infra deployment via CDK",
    ],
}  # fmt: skip
"""Section of the page -> what the document and the card have there: the first column of its table."""


class Row(NamedTuple):
    """One line of a table: a thing of the document, and what became of it."""

    section: str
    thing: str
    here: str
    held_by: str


def _rows():
    section = ""
    for line in PAGE.splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ")
        if line.startswith("| ") and section in WORDS:
            thing, here, held_by = [cell.strip() for cell in line.split("|")[1:4]]
            if here not in ("here", "---"):
                yield Row(section, thing, here, held_by)


ROWS = list(_rows())
IDS = [f"{row.section}: {row.thing}" for row in ROWS]


def _names(cell):
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("section", WORDS)
def test_nothing_of_the_document_is_missing(section):
    assert [row.thing for row in ROWS if row.section == section] == WORDS[section]


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_each_thing_has_a_place_and_a_test_or_is_planned(row):
    if row.here == "planned":
        assert not row.held_by
    else:
        assert _names(row.here)
        assert _names(row.held_by)


@pytest.mark.parametrize("name", sorted({name for row in ROWS for name in _names(row.here)}))
def test_every_place_exists(name):
    if (ROOT / name).exists():
        return
    _find(name)


def _find(dotted):
    """Import the longest part that is a module, then follow attributes and fields."""
    parts = dotted.split(".")
    found = import_module(parts[0])
    for index, part in enumerate(parts[1:], start=2):
        if dataclasses.is_dataclass(found) and part in {field.name for field in dataclasses.fields(found)}:
            assert index == len(parts), f"{dotted}: nothing is below a field"
            return
        if not hasattr(found, part):
            import_module(".".join(parts[:index]))
        found = getattr(found, part)


@pytest.mark.parametrize(
    "name", sorted({name for name in re.findall(r"`([\w/]+\.py(?:::\w+)*)`", PAGE) if "test_" in name})
)
def test_every_test_on_the_page_exists(name):
    path, *wanted = name.split("::")
    body = _tree(path).body
    for each in wanted:
        found = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == each]
        assert found, f"{path} has no {each}"
        body = found[0].body


def test_every_name_under_held_by_is_a_test():
    wrong = [name for row in ROWS for name in _names(row.held_by) if not re.fullmatch(r"[\w/]+\.py(::\w+)*", name)]
    assert wrong == []


@cache
def _tree(path):
    return ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
