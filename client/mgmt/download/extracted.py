"""Downloads a tree: its archive is unpacked while it arrives, and no byte of the archive itself is kept."""

from __future__ import annotations

import os
from pathlib import Path

from mgmt.archive.checkpoints import unpack_resumably
from mgmt.archive.extraction import Extraction, LeftDifferentError
from mgmt.archive.publishing import prepare
from mgmt.archive.rules import Counted, Rules
from mgmt.archive.summed import Summed
from mgmt.archive.unpacking import unpack
from mgmt.download.checking import check_end
from mgmt.download.refetching import Refetching
from mgmt.download.unfinished import Opened
from mgmt.download.unfinished_tree import STEP_BYTES, UnfinishedTree, list_paths
from mgmt.download.wanted import Wanted
from mgmt.errors import IntegrityError, MgmtError
from mgmt.events import Begun
from mgmt.layout import placeholder, temporary_name
from mgmt.machine.filling import remove_tree
from mgmt.stored.archive import StoredArchive, open_archive
from mgmt.stored.opening import report_end
from mgmt.stored.ranges import RANGES_AT_A_TIME
from mgmt.stored.recorded import has_this_format
from mgmt_contract.records import DownloadRecord


class ExtractedTree:
    """The download of one tree."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._token = wanted.token("tree")
        self._part = os.fsencode(temporary_name(wanted.tree_name, self._token))
        self._archive: StoredArchive | None = None
        self._summed: Summed | None = None

    @property
    def failed_record(self) -> DownloadRecord | None:
        """The record of a download that was begun and has failed."""
        return self._archive.record if self._archive is not None else None

    @property
    def hidden_paths(self) -> tuple[Path, ...]:
        """Where it keeps what is not whole yet."""
        wanted = self._wanted
        part = wanted.options.folder / os.fsdecode(self._part)
        return (part, *list_paths(wanted.options.folder, wanted.tree_name, wanted.upload.operation_id))

    def run(self) -> DownloadRecord:
        """Download and extract it.

        Raises:
            MgmtError: If it failed; where `failed_record` is set, the team knows.
        """
        wanted = self._wanted
        folder, upload_id = wanted.options.folder, wanted.upload.operation_id
        with UnfinishedTree(folder, wanted.tree_name, upload_id, wanted.size) as unfinished:
            if unfinished.is_published_as(wanted.place):
                record = self._report_earlier(unfinished)
            else:
                record = self._bring(unfinished)
            unfinished.discard()
            return record

    def _report_earlier(self, unfinished: UnfinishedTree) -> DownloadRecord:
        """Report the end that an earlier run could not report."""
        wanted = self._wanted
        assert unfinished.opened is not None  # noqa: S101  it was opened before anything was published
        wanted.hurry_report()
        return report_end(wanted.session, wanted.earlier_record(unfinished.opened.operation_id), wanted.size, None)

    def _bring(self, unfinished: UnfinishedTree) -> DownloadRecord:
        wanted, earlier = self._wanted, unfinished.opened
        # The record and the place are looked at before anything is fetched.
        rules = self._rules(resumes=True)
        Counted(rules).refuse_recorded()
        prepare(wanted.place, self._part, placeholder(self._token), rules)
        is_same = earlier is not None and earlier.target_path == wanted.target_path
        operation_id = earlier.operation_id if earlier is not None and is_same else None
        try:
            with open_archive(wanted.session, wanted.upload, wanted.target_path, operation_id=operation_id) as archive:
                self._archive = archive
                archive.begin(lambda begun_id: unfinished.open(Opened(begun_id, wanted.target_path)))
                wanted.session.emit(Begun(wanted.name, archive.operation_id, wanted.size))
                self._extract(archive, unfinished)
                wanted.hurry_report()
        except MgmtError as error:
            was_refused = earlier is None and self.failed_record is None and not error.stops_everything
            if isinstance(error, IntegrityError) or error.code == "object-gone" or was_refused:
                unfinished.discard()
            raise
        assert archive.record is not None  # noqa: S101  it was opened
        return archive.record

    def _extract(self, archive: StoredArchive, unfinished: UnfinishedTree) -> None:
        received_bytes = archive.received_bytes
        archive.received_bytes += unfinished.done_bytes
        refetching = Refetching(self._wanted)
        while True:
            try:
                self._extract_on(archive, unfinished)
            except LeftDifferentError:
                archive.received_bytes = received_bytes
            except IntegrityError as error:
                summed = self._summed
                seen = (summed.offset, summed.crc) if summed is not None else None
                if not refetching.begin(error, archive.operation_id, seen=seen):
                    raise
            else:
                return
            unfinished.begin_anew()

    def _extract_on(self, archive: StoredArchive, unfinished: UnfinishedTree) -> None:
        wanted, stop = self._wanted, self._wanted.session.stop
        resumes = has_this_format(wanted.upload) and wanted.size > STEP_BYTES
        checkpoint = unfinished.checkpoint if resumes else None  # may be one with smaller steps
        offset, crc = checkpoint.mark if checkpoint is not None else (0, 0)
        if checkpoint is None:
            remove_tree(wanted.place.parent, self._part)

        def note(done_bytes: int) -> None:
            wanted.note(archive.operation_id, "extracting", done_bytes, offset)

        with (
            Extraction(wanted.place, token=self._token, rules=self._rules(resumes=resumes), stop=stop) as extraction,
            archive.stream(offset, jobs=wanted.options.jobs or RANGES_AT_A_TIME) as arriving,
        ):
            self._summed = summed = Summed(arriving, offset=offset, crc=crc, stop=stop, on_bytes=note)
            found = unpack_resumably(summed, extraction, unfinished) if resumes else unpack(summed, extraction)
            check_end(summed, wanted.upload, found)
            extraction.publish(unfinished.promise)
        unfinished.promise(wanted.place)  # what was merged into a folder has this one's identity
        wanted.tell_left_out(extraction.left_out, archive.operation_id)

    def _rules(self, *, resumes: bool) -> Rules:
        upload = self._wanted.upload
        source = upload.source_file_record
        return Rules(
            recorded_members=upload.member_count,
            recorded_bytes=upload.uncompressed_size,
            lifts_limits=self._wanted.options.lifts_limits,
            replaces=self._wanted.options.replaces,
            replaces_before_ns=self._wanted.options.replaces_before_ns,
            resumes=resumes,
            makes_folder=source.is_directory if source is not None else None,
        )
