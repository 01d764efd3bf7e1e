"""The HTML of the hosted payment pages. No scripts, no external assets; everything that a merchant sent is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from polytill.simulator.wire import PayPage

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;margin:0;min-height:100vh;display:grid;place-items:center;
background:#eef1f5;color:#1c2430}
main{background:#fff;border-radius:12px;padding:2rem;width:min(24rem,calc(100vw - 4rem));
box-shadow:0 2px 16px rgba(20,30,50,.12)}
h1{font-size:1rem;margin:0 0 1rem;font-weight:600}
.amount{font-size:2rem;font-weight:700;margin:0}
.quiet{color:#5a6472;font-size:.9rem;margin:.25rem 0;overflow-wrap:anywhere}
.note{background:#fdecea;color:#8c1d18;border-radius:8px;padding:.5rem .75rem}
button{font:inherit;width:100%;padding:.75rem;margin-top:.75rem;border-radius:8px;border:1px solid #c4ccd8;
background:#fff;color:#1c2430;cursor:pointer}
button:focus-visible{outline:3px solid #7aa7ff;outline-offset:2px}
button.main{background:#0a5c36;border-color:#0a5c36;color:#fff;font-weight:600}
footer{margin-top:1.5rem;font-size:.8rem;color:#5a6472}
@media (prefers-color-scheme:dark){body{background:#12161c;color:#e6eaf0}
main{background:#1c222b;box-shadow:none}
.quiet,footer{color:#9aa5b4}button{background:#262e39;color:#e6eaf0;border-color:#3a4452}
.note{background:#4a1f1c;color:#ffd9d5}}
"""
_CLOSED = {
    "paid": ("This payment is complete", "Nothing is left to pay here. You can close this page."),
    "expired": ("This payment page has expired", "It can no longer be paid. Please go back to the merchant."),
}


def _document(title: str, content: str) -> str:
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>{content}"
        "<footer>Simulated payment page: no money moves.</footer></main></body></html>"
    )


def _buttons(hidden: Mapping[str, str]) -> str:
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in hidden.items()
    )
    choices = (("success", "Pay", ' class="main"'), ("decline", "Decline", ""), ("abandon", "Abandon", ""))
    return "".join(
        f'<form method="post">{fields}<input type="hidden" name="outcome" value="{outcome}">'
        f'<button type="submit"{attributes}>{label}</button></form>'
        for outcome, label, attributes in choices
    )


def render(page: PayPage, hidden: Mapping[str, str]) -> str:
    """A payment page: open with its buttons, paid, or expired."""
    parts = [f"<h1>{escape(page.provider)} · {escape(page.title)}</h1>"]
    if page.state in _CLOSED:
        heading, sentence = _CLOSED[page.state]
        parts.append(f'<p class="amount">{heading}</p><p class="quiet">{sentence}</p>')
        return _document(heading, "".join(parts))
    parts.append(f'<p class="amount">{escape(page.currency)} {escape(page.amount)}</p>')
    parts.append(f'<p class="quiet">{escape(page.merchant)}</p>')
    if page.description:
        parts.append(f'<p class="quiet">{escape(page.description)}</p>')
    if page.reference:
        parts.append(f'<p class="quiet">Reference {escape(page.reference)}</p>')
    if page.note:
        parts.append(f'<p class="note" role="alert">{escape(page.note)}</p>')
    parts.append(_buttons(hidden))
    return _document(f"Pay {page.currency} {page.amount}", "".join(parts))


def message(title: str, sentence: str) -> str:
    """A page with a message only."""
    return _document(title, f'<p class="amount">{escape(title)}</p><p class="quiet">{escape(sentence)}</p>')
