"""Everything that a deployment can decide: one table of keys, for the reader, the comparison and the documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Kind = Literal["text", "number", "list", "people"]
Guard = Literal["changed", "lowered", "widened"]


class Key(NamedTuple):
    """One key of the deployment file."""

    kind: Kind
    meaning: str
    default: str
    """In words, for the documents."""
    pattern: str | None = None
    guard: Guard | None = None
    """Which change of it a later deployment makes only when it is confirmed.

    A list is widened by another entry, a text when it becomes its default again.
    """
    risk: str = ""
    """What such a change does, as the refusal says it."""
    needs_issuer: bool = False
    """True where it describes a sign-in of one's own; the stack's own user pool has fixed values."""


_WORD: Final = r"[^\s,]+"
_NUMBER: Final = r"[1-9][0-9]*"

_HTTPS: Final = r"https://\S+"
_ADDRESS: Final = r"[^\s@]+@[^\s@]+\.[^\s@]+"
_PREFIX: Final = r"[A-Za-z0-9._/-]*"
"""It stands in the role's policy, where * and ? and $ are more than text."""
_RUNTIME: Final = r"python3\.[0-9]+"
_STACK: Final = r"[A-Za-z][A-Za-z0-9-]*"

_IN_WORDS: Final = {
    _WORD: "a text without blanks and commas",
    _NUMBER: "a whole number above 0",
    _HTTPS: "an address that begins with https://",
    _ADDRESS: "an e-mail address",
    _PREFIX: "letters, digits and . _ - /",
    _RUNTIME: "a Python such as python3.13",
    _STACK: "letters, digits and hyphens, with a letter first",
}


def describe_pattern(pattern: str) -> str:
    """Say in words what a value must look like; a choice of words, such as `arm64|x86_64`, says it itself."""
    return _IN_WORDS.get(pattern) or pattern.replace("|", " or ")


KEYS: Final[Mapping[str, Key]] = {
    "issuer": Key(
        "text",
        "the OpenID Connect issuer whose tokens are accepted, as they write it. Without it, the stack makes"
        " a user pool",
        "none: a user pool",
        _HTTPS,
        "changed",
        "people are known by their subject at the issuer, so nobody owns what they have uploaded so far, and everybody "
        "has to sign in anew; the user pool, if there was one, stays in the account but is no longer asked",
    ),
    "client_id": Key(
        "text",
        "the client that `mgmt login` is at the issuer. Where no `audience` is named, tokens made for it are taken",
        "none",
        _WORD,
        "changed",
        "tokens of the other client are refused, and everybody has to sign in anew",
        needs_issuer=True,
    ),
    "audience": Key(
        "text",
        "what the `aud` of a token must be; name it if tokens have one. One of `audience` and `client_id` is required "
        "with `issuer`",
        "none",
        _WORD,
        "changed",
        "tokens for the other audience are refused, and those for the new one let in",
        needs_issuer=True,
    ),
    "member_group": Key(
        "text",
        "the group without which nobody is a member",
        "none; with the user pool `members`",
        None,
        "changed",
        "other people become members than until now",
        needs_issuer=True,
    ),
    "admin_group": Key(
        "text",
        "the group of admins, as the token names it, letter by letter; they are members too",
        "`admins`",
        None,
        "changed",
        "other people become admins than until now",
        needs_issuer=True,
    ),
    "scopes": Key(
        "list",
        "scopes of which a member's token must carry one, as the token has them. One of `scopes` and `member_group` is "
        "required with `issuer`; both together are best, because ID tokens carry no scope",
        "none; with the user pool `mgmt/use`",
        _WORD,
        "changed",
        "a scope that is no longer asked for lets in tokens that were made for something else; another one locks out "
        "the tokens that people have",
        needs_issuer=True,
    ),
    "read_scopes": Key(
        "list",
        "scopes that are enough to list and to look up, beside `scopes`",
        "none; with the user pool `mgmt/read`",
        _WORD,
        "widened",
        "tokens with the new scope can read the team's history: anybody's, where no `member_group` is asked for",
        needs_issuer=True,
    ),
    "sign_in_scopes": Key(
        "list",
        "scopes that `mgmt login` asks for, where the issuer spells them in another way than its tokens, or wants "
        "`offline_access` for a refresh token",
        "`scopes`; with the user pool `openid mgmt/use`",
        _WORD,
        needs_issuer=True,
    ),
    "groups_claim": Key(
        "text",
        "the one claim of the access token that lists a person's groups",
        "`cognito:groups`",
        None,
        "changed",
        "members and admins are found in another claim than until now",
        needs_issuer=True,
    ),
    "actor_claim": Key(
        "text",
        "the claim of the access token that names a person",
        "`username`",
        None,
        "changed",
        "people get other names in the history from now on; what is recorded keeps the old ones",
        needs_issuer=True,
    ),
    "machine_clients": Key(
        "list", "ids of clients whose own tokens (client credentials) are members'; never admins'", "none", _WORD
    ),
    "first_admins": Key(
        "people",
        "a table of the first admins of the user pool: a name to sign in with, and the address for the invitation. "
        "Each is made once; later changes are made in the pool",
        "none",
        _ADDRESS,
    ),
    "identity_providers": Key(
        "list",
        "providers of the user pool, beside itself, that its sign-in page offers, such as `Google`",
        "none",
        _WORD,
    ),
    "replace_others": Key(
        "text",
        "who may replace an object that somebody else has stored: `members` or `admins`",
        "`members`",
        "members|admins",
        "widened",
        "members can replace the objects of others again",
    ),
    "root_prefix": Key(
        "text",
        "folder in the bucket under which everything is stored; the role reaches nothing else",
        "none: the whole bucket",
        _PREFIX,
        "changed",
        "the role gets rights to other objects, and may lose those to objects that are recorded",
    ),
    "url_life_seconds": Key(
        "number", "how long a presigned URL can be used, 30 to 3600; with the user pool at most 900", "900", _NUMBER
    ),
    "lease_seconds": Key("number", "how long a silent machine keeps its upload to itself, 30 to 86400", "600", _NUMBER),
    "feed_shards": Key(
        "number",
        "partitions of the history's index, 1 to 32: each is enough for 300 uploads a second, or more",
        "4",
        _NUMBER,
        "lowered",
        "records in the partitions that are no longer read vanish from the history, until the number is raised again",
    ),
    "join_patience_seconds": Key(
        "number", "how long joining parts is only looked at before it is asked for again, 60 to 3600", "600", _NUMBER
    ),
    "recoverable_days": Key(
        "number",
        "how long a deleted upload can be brought back, in days, 1 to 3650; what is deleted already keeps the date "
        "that was named",
        "30",
        _NUMBER,
    ),
    "resume_days": Key(
        "number",
        "how long an upload or a download that nobody goes on with may be resumed, 1 to 29; then it ends as failed",
        "7",
        _NUMBER,
    ),
    "key_part_max_bytes": Key(
        "number",
        "longest part of a key between slashes, for a storage that has such a limit; S3 has none",
        "none",
        _NUMBER,
    ),
    "alarm_addresses": Key(
        "list",
        "e-mail addresses that are told of alarms; each confirms once, by the link in a mail that AWS sends",
        "none: alarms only show in CloudWatch",
        _ADDRESS,
    ),
    "requests_per_second": Key("number", "throttle of the calls that need sign-in", "50", _NUMBER),
    "request_burst": Key("number", "how many of those may come at once", "100", _NUMBER),
    "open_requests_per_second": Key("number", "throttle of `GET /v1/service`, which anybody may call", "5", _NUMBER),
    "open_request_burst": Key("number", "how many of those may come at once", "5", _NUMBER),
    "architecture": Key("text", "the function's processor: `arm64` or `x86_64`", "`arm64`", "arm64|x86_64"),
    "runtime": Key("text", "the function's Python", "`python3.13`", _RUNTIME),
    "stack_name": Key("text", "the stack's name; several services in one account have several", "`mgmt`", _STACK),
}
"""In the order of the documents."""

GUARDED: Final = tuple(name for name, key in KEYS.items() if key.guard is not None)
