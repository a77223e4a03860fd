"""Archives of others: in a folder that several machines upload from, one may lie where an archive is to be made.

mgmt on the other machine needs it until its upload has ended, so nobody may be told to move it away. No lock tells that
reliably: network disks lose locks or do not know them. The service does: it has the uploads that have not ended.
"""

from __future__ import annotations

from typing import Final

from mgmt.errors import SourceError
from mgmt.session import Session
from mgmt.upload.adopt import UnknownArchiveError
from mgmt_contract.messages.history import HistoryRequest
from mgmt_contract.names import base_name, fold_key
from mgmt_contract.records import UploadRecord
from mgmt_contract.wire import format_time

_ASKED_MAX: Final = 20
"""Archives in a run that the service is asked about: a folder of downloaded ones is not to cost a call for each."""


class Neighbours:
    """Tells of the archives that are in the way of one run whose uploads may need them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._asked = 0

    def explain(self, error: UnknownArchiveError) -> SourceError:
        """Say whose unfinished upload may need an archive, where the service knows of one; else the error as it is.

        Raises:
            MgmtError: If the service cannot be asked.
        """
        if self._asked >= _ASKED_MAX:
            return error
        self._asked += 1
        pending = self._find_pending(error.path.name)
        if pending is None:
            return error
        return SourceError(
            f"{error.path} is left alone: {pending.actor}'s upload of {pending.s3_object_key}, begun on "
            f"{format_time(pending.started_at)}, has not ended and may need it (`mgmt show {pending.operation_id}`). "
            f"Wait until that has ended, or ask {pending.actor}; then run the same command again. Only if nobody goes "
            "on with that upload, move the archive away, or use --archive-dir DIR.",
            code=error.code,
        )

    def _find_pending(self, name: str) -> UploadRecord | None:
        """Find the newest upload to an archive's name, under any prefix, that has not ended and was not begun here."""
        session = self._session
        known = {each.operation_id for each in session.journal.unfinished(session.service_url)}
        page = session.api.history(HistoryRequest(name=name, operation_type="upload", status="pending"))
        of_name = (
            each
            for each in page.records
            if isinstance(each, UploadRecord) and fold_key(base_name(each.s3_object_key)) == fold_key(base_name(name))
        )
        return next((each for each in of_name if each.operation_id not in known), None)
