"""Renders the customer's pages: template, language, branding, and a content policy that allows only what the page uses."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from polytill.domain.errors import PolytillError, TooLarge
from polytill.web.checkout.texts import COOKIE, LANGUAGES, Language, language_of
from polytill.web.page_addresses import own_address, root_of

templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent.parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

MAX_FORM_BYTES = 4096
_POLICY = {
    "default-src": ("'none'",),
    "style-src": ("'self'",),
    "img-src": ("'self'",),
    "form-action": ("'self'",),
    "base-uri": ("'none'",),
    "frame-ancestors": ("'none'",),
}
Sources = Sequence[tuple[str, Sequence[str]]]  # additional sources of a directive
# What our own script needs on pages that include it.
OUR_SCRIPT: Sources = (("script-src", ("'self'",)), ("connect-src", ("'self'",)))


def page(name: str, **values: Any) -> Response:
    """Render a page that belongs to no practice."""
    return _answer(templates.get_template(name).render(**values), 200, ())


def _answer(html: str, status: int, more: Sources) -> Response:
    policy = {name: list(sources) for name, sources in _POLICY.items()}
    for name, sources in more:
        policy.setdefault(name, []).extend(sources)
    headers = {
        "Content-Security-Policy": "; ".join(f"{name} {' '.join(sources)}" for name, sources in policy.items()),
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    return Response(html, status, headers, "text/html; charset=utf-8")


# ── Branding ──


@dataclass(frozen=True, slots=True)
class Brand:
    """The branding of a page: name, color ``#rrggbb`` or None for the default, and the time zone of its days and times."""

    name: str
    color: str | None = None
    zone: tzinfo = UTC

    @property
    def initials(self) -> str:
        """One or two letters for the round logo."""
        words = [word for word in self.name.split() if word[0].isalnum()]
        return "".join(word[0] for word in words[:2]).upper() or "·"

    @property
    def style(self) -> str:
        """The CSS rules that apply the color; empty for the default. The text on it has the better contrast, at least
        4.5:1.
        """
        if self.color is None:
            return ""
        return f":root{{--brand:{self.color};--on-brand:{ink_on(self.color)}}}"


def ink_on(color: str) -> str:
    """Black or white: one of them reaches a WCAG contrast of 4.58:1 on any color."""
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#ffffff" if 1.05 / (luminance + 0.05) >= (luminance + 0.05) / 0.05 else "#000000"


def show(
    request: Request, name: str, brand: Brand, http_status: int = 200, policy: Sources = (), **values: Any
) -> Response:
    """Render a page of a practice in the customer's language. A language in the address is remembered for the next
    pages."""
    language = replace(language_of(request), zone=brand.zone)
    if brand.style:
        digest = base64.b64encode(hashlib.sha256(brand.style.encode()).digest()).decode()
        policy = (*policy, ("style-src", [f"'sha256-{digest}'"]))
    html = templates.get_template(name).render(
        language=language,
        say=language.say,
        money=language.money,
        brand=brand,
        root=root_of(request),
        style=Markup(brand.style),  # noqa: S704
        languages=LANGUAGES,
        here=own_address(request, "lang", "incomplete", "n"),
        **values,
    )
    answer = _answer(html, http_status, policy)
    chosen = request.query_params.get("lang")
    if chosen in LANGUAGES:
        answer.set_cookie(COOKIE, chosen, 365 * 86_400, samesite="lax", httponly=True, secure=_is_https(request))
    return answer


def _is_https(request: Request) -> bool:
    return str(request.app.state.till.context.settings.public_url).startswith("https://")


# ── Forms ──


async def read_fields(request: Request) -> dict[str, str]:
    """The fields of a form that are not empty, without surrounding spaces. Raises ``TooLarge`` as soon as the body
    exceeds the limit."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise TooLarge
    return {name: texts[0].strip() for name, texts in parse_qs(body.decode("utf-8", "replace")).items()}


# ── Errors ──

_SENTENCES = {404: "not_found", 429: "busy", 503: "busy"}


def wants_html(request: Request) -> bool:
    """Whether the client is a browser that a person uses."""
    return "text/html" in request.headers.get("accept", "")


def refused(request: Request, error: PolytillError) -> Response:
    """An error at a customer's address: a page for a browser, a problem document for other clients."""
    if not wants_html(request):
        raise error
    known = "unavailable" if error.public else _SENTENCES.get(error.status, "other")
    sentence = getattr(error, "sentence", None) or known
    response = show(request, "checkout_problem.html", Brand("polytill"), error.status, sentence=sentence)
    if error.status in (429, 503):
        response.headers["Retry-After"] = str(error.retry_after_s or 2)
    return response


def listed(language: Language, words: Sequence[str]) -> str:
    """``card, bank transfer or USSD``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {language.say('method', 'or')} {words[-1]}"
