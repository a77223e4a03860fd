"""Work for the worker, as messages carry it: an operation or an object to look at, or a round to make."""

from __future__ import annotations

import json
from typing import Any, Final, Literal
from urllib.parse import unquote_plus

from mgmt_contract.values import Value
from mgmt_contract.wire import MessageError, from_plain, to_json

Task = Literal["settle", "arrival", "pending", "deleted", "orphans"]
"""settle: one operation. arrival: one object. The others are rounds: through all pending operations, all deleted
uploads whose time is up, and all that only the storage or only the records know."""

ROUND_SECONDS: Final = 300
"""How often the pending operations are gone through."""
DELETED_EVERY_SECONDS: Final = 3600
"""How often the deleted uploads are gone through."""
ORPHANS_EVERY_DAYS: Final = 7
"""How often everything is compared with everything: it asks the storage once for each upload."""
ARRIVAL_DELAY_SECONDS: Final = 300
"""How long after its arrival an object is looked at: by then most clients have had it confirmed."""
FINAL_DELAY_SECONDS: Final = 900
"""How long after its last parts were signed an upload is looked at: their URLs have expired then. It is also the
longest that SQS delays a message. Source: Amazon SQS Developer Guide, "Message quotas", read 2026-11."""


class Work(Value):
    """One piece of work. To do it twice, or too early, does no harm."""

    task: Task
    operation_id: str | None = None
    """Of `settle`."""
    key: str | None = None
    """Of `arrival`."""
    version_id: str | None = None
    """Of `arrival`, where the bucket keeps versions."""
    after: str | None = None
    """Where an interrupted round goes on."""


def write_work(work: Work) -> str:
    """Write work as the text of a message."""
    return to_json(work)


def read_work(text: str) -> list[Work]:
    """Read the text of a message: ours, or a notification of S3 about several objects.

    Source: Amazon S3 User Guide, "Event message structure", read 2026-11: keys are URL-encoded as in a form. The
    message that S3 sends to try the queue out has no records and is no work.

    Raises:
        MessageError: If it is neither.
    """
    try:
        plain: Any = json.loads(text)
        if "task" in plain:
            return [from_plain(Work, plain)]
        if plain.get("Event") == "s3:TestEvent":
            return []
        return [
            _read_arrival(record) for record in plain["Records"] if record["eventName"].startswith("ObjectCreated:")
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MessageError(f"no message for the worker: {error!r}") from error


def _read_arrival(record: Any) -> Work:
    stored = record["s3"]["object"]
    return Work("arrival", key=unquote_plus(str(stored["key"])), version_id=stored.get("versionId"))
