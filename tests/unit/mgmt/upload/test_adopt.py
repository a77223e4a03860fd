"""What is done about earlier runs, for all that the journal may know and the disk may hold."""

from dataclasses import replace
from pathlib import Path

import pytest

from mgmt.archive import ArchiveSums, PackedArchive
from mgmt.journal import Entry
from mgmt.upload.adopt import Adoption, Facts, decide, explain
from mgmt_contract.messages.uploads import Content, Packing
from mgmt_contract.wire import to_json

PLACE = Path("/w/a.tar.gz")
PACKING = Packing("isal-1", "auto")
CONTENT = Content(100, "crc", "digest", 1000, 3)
NOTHING = Facts("/w/a", PLACE, "same", PACKING)

BEGUN = Entry("id", "s", "/w/a", "/a", str(PLACE), "same", to_json(PACKING), archive_mtime_ns=7)
"""Promised, and not packed yet."""
CHANGED = replace(BEGUN, fingerprint="other")
PACKED_OTHERWISE = replace(BEGUN, plan=to_json(Packing("isal-1", "store")))
ELSEWHERE = replace(BEGUN, archive_path="/elsewhere/a.tar.gz")
MOVING = replace(BEGUN, completed_path="/done/a")
WHOLE = replace(BEGUN, archive_size=100, content=CONTENT)
OF_ANOTHER = replace(WHOLE, operation_id="of another", source_path="/x/a", fingerprint="other")
KEPT_MOVING = replace(WHOLE, completed_path="/done/a", ended_as="kept")
KEPT = replace(WHOLE, operation_id="kept", ended_as="kept")
KEPT_OTHER = replace(KEPT, fingerprint="other")

GOOD = ArchiveSums(100, "crc", (), "md5")
LONGER, DAMAGED = replace(GOOD, size=101), replace(GOOD, crc64nvme="other")
ARCHIVE = PackedArchive(PLACE, CONTENT, PACKING, (), 7, content_md5="md5")
UNREAD = replace(ARCHIVE, content_md5=None)


@pytest.mark.parametrize(
    ("known_to_the_journal", "on_the_disk", "decision"),
    [
        # Nothing is known of an earlier run.
        ({}, {}, {}),
        ({}, {"at_place": "foreign"}, {"refusal": "foreign"}),
        ({}, {"at_place": "made by mgmt"}, {"refusal": "made by mgmt"}),
        # The same upload was begun.
        ({"newest": BEGUN}, {}, {"operation_id": "id"}),
        ({"newest": BEGUN, "promised_ids": ("id",)}, {}, {"operation_id": "id", "unfinished_ids": ("id",)}),
        ({"newest": BEGUN}, {"at_place": "promised"}, {"operation_id": "id", "clears_promised": True}),
        ({"newest": BEGUN, "promised_ids": ("id",)}, {"at_place": "foreign"}, {"refusal": "foreign"}),
        ({"newest": ELSEWHERE}, {}, {"operation_id": "id", "elsewhere": ELSEWHERE}),
        ({"newest": MOVING}, {}, {"operation_id": "id", "moving": MOVING}),
        # One of other content, or packed in another way: nothing of it is gone on with.
        ({"newest": CHANGED}, {}, {"forgotten_id": "id"}),
        ({"newest": PACKED_OTHERWISE}, {}, {"forgotten_id": "id"}),
        ({"newest": CHANGED, "known": replace(CHANGED, archive_size=100, content=CONTENT)}, {}, {
            "forgotten_id": "id", "replaced": replace(CHANGED, archive_size=100, content=CONTENT),
        }),
        # One that has ended is over, whatever it was.
        *[({"newest": replace(each, ended_as="failed")}, {}, {}) for each in (BEGUN, CHANGED, ELSEWHERE)],
        # But for its original, which could not be moved: that is made up for, and a kept archive stays.
        ({"newest": KEPT_MOVING, "known": KEPT_MOVING}, {"sums": GOOD}, {
            "operation_id": "id", "moving": KEPT_MOVING, "archive": ARCHIVE, "was_kept": True,
        }),
        ({"newest": replace(KEPT_MOVING, archive_path="/elsewhere/a.tar.gz")}, {}, {
            "operation_id": "id", "moving": replace(KEPT_MOVING, archive_path="/elsewhere/a.tar.gz"),
        }),
        ({"newest": replace(KEPT_MOVING, fingerprint="other", archive_path="/elsewhere/a.tar.gz")}, {}, {
            "moving": replace(KEPT_MOVING, fingerprint="other", archive_path="/elsewhere/a.tar.gz"),
        }),
        # Its archive is whole.
        ({"newest": WHOLE, "known": WHOLE}, {"sums": GOOD}, {"operation_id": "id", "archive": ARCHIVE}),
        ({"newest": WHOLE, "known": WHOLE}, {}, {"operation_id": "id", "archive": UNREAD}),
        ({"newest": WHOLE, "known": WHOLE}, {"sums": DAMAGED}, {"operation_id": "id", "replaced": WHOLE}),
        ({"newest": WHOLE, "known": WHOLE}, {"sums": LONGER}, {"operation_id": "id", "replaced": WHOLE}),
        ({"newest": WHOLE, "known": WHOLE}, {"unreadable": "why"}, {"operation_id": "id", "refusal": "unreadable"}),
        ({"known": replace(WHOLE, ended_as="failed")}, {"sums": GOOD}, {"archive": ARCHIVE}),
        ({"known": replace(WHOLE, destination="/p/a")}, {"sums": GOOD}, {"archive": ARCHIVE}),
        # Somebody asked for it to be kept.
        ({"known": KEPT}, {"sums": GOOD}, {"archive": ARCHIVE, "was_kept": True}),
        ({"known": KEPT}, {"sums": DAMAGED}, {"refusal": "kept", "was_kept": True}),
        ({"known": KEPT}, {"unreadable": "why"}, {"refusal": "unreadable", "was_kept": True}),
        ({"known": KEPT_OTHER}, {}, {"refusal": "kept", "was_kept": True}),
        ({"known": KEPT_OTHER}, {"unreadable": "why"}, {"refusal": "kept", "was_kept": True}),
        # It is of another source.
        ({"known": OF_ANOTHER}, {}, {"refusal": "of another"}),
        ({"known": replace(OF_ANOTHER, ended_as="failed")}, {}, {"refusal": "of another"}),
        ({"known": replace(OF_ANOTHER, ended_as="left")}, {}, {"replaced": replace(OF_ANOTHER, ended_as="left")}),
        ({"known": replace(OF_ANOTHER, fingerprint="same")}, {"sums": GOOD}, {"archive": ARCHIVE}),
        ({"newest": ELSEWHERE, "known": OF_ANOTHER}, {}, {
            "operation_id": "id", "elsewhere": ELSEWHERE, "refusal": "of another",
        }),
    ],
)  # fmt: skip
def test_what_is_done_follows_from_what_is_known_and_what_lies_there(known_to_the_journal, on_the_disk, decision):
    goes_on = not decision.keys().isdisjoint({"operation_id", "archive"})
    adoption = decide(replace(NOTHING, **known_to_the_journal, **on_the_disk))
    assert adoption == Adoption(**decision, may_have_sent=goes_on)
    assert adoption.must_repeat_parts == ("operation_id" in decision and "archive" not in decision)


@pytest.mark.parametrize(
    ("refusal", "code", "words"),
    [
        ("foreign", "archive-exists", "mgmt did not make it"),
        ("made by mgmt", "archive-exists", "an earlier mgmt made it"),
        ("kept", "archive-exists", "kept on request"),
        ("of another", "archive-exists", "unfinished upload of '/x/a'"),
        ("unreadable", "archive-unreadable", "cannot be read: why."),
    ],
)
def test_a_refusal_names_the_archive_and_a_way_out(refusal, code, words):
    error = explain(refusal, replace(NOTHING, known=OF_ANOTHER, unreadable="why"))
    assert error.code == code
    assert error.message.startswith(str(PLACE))
    assert words in error.message
    assert "--archive-dir DIR" in error.message
