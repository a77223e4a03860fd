"""The page that the browser ends on: self-contained, without scripts, and of no use to other pages."""

from __future__ import annotations

import base64
import hashlib
import html
from functools import partial
from typing import Final

from mgmt_contract.values import Value

_STYLE: Final = """
:root { color-scheme: light dark; --ground: #f6f7f9; --sheet: #fff; --text: #1c2024; --quiet: #5b6470;
  --good: #1a7f4b; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ground: #111418; --sheet: #1b1f25; --text: #e8eaed; --quiet: #9aa3ad;
  --good: #5dc98f; --bad: #ff8a80; } }
* { box-sizing: border-box; margin: 0; }
body { min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background: var(--ground);
  color: var(--text); font: 1.0625rem/1.5 system-ui, sans-serif; }
main { width: 100%; max-width: 32rem; padding: 2.5rem; border-radius: 1rem; background: var(--sheet);
  box-shadow: 0 1px 3px rgb(0 0 0 / .2); overflow-wrap: anywhere; }
.sign { font-size: 2.5rem; line-height: 1; font-weight: 700; }
.good { color: var(--good); } .bad { color: var(--bad); }
h1 { margin: 1rem 0 .5rem; font-size: 1.5rem; line-height: 1.25; }
.next { margin-top: 1rem; color: var(--quiet); }
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Final = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Sent with every page: nothing is loaded, nothing is kept, and the address with its code goes nowhere."""


class Page(Value):
    """What a browser is answered."""

    status: int
    title: str
    next_step: str
    text: str
    is_good: bool

    def to_bytes(self) -> bytes:
        """Write the page; texts may come from anybody."""
        sign, kind = ("✓", "good") if self.is_good else ("✗", "bad")
        title, text, next_step = map(html.escape, (self.title, self.text, self.next_step))
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - mgmt</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<main>
<p class="sign {kind}" aria-hidden="true">{sign}</p>
<h1>{title}</h1>
<p>{text}</p>
<p class="next">{next_step}</p>
</main>
</body>
</html>
""".encode(errors="replace")


signed_in: Final = partial(
    Page, 200, "You are signed in", "You can close this window now: go on in the terminal.", is_good=True
)
asks: Final = partial(
    Page, 200, "One question is left", "You can close this window now: the question is in the terminal.", is_good=True
)
failed: Final = partial(
    Page, 200, "You are not signed in", "You can close this window; the terminal says the same.", is_good=False
)
not_ours: Final = partial(
    Page,
    400,
    "This is not part of your sign-in",
    "Your sign-in still waits: go on in the window that mgmt has opened.",
    is_good=False,
)
"""Each takes the text between title and next step."""
