"""The base of all console pages: templates, headers, strict reading of forms, and error pages."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from polytill.domain.errors import (
    CallerError,
    Conflict,
    Duplicate,
    Forbidden,
    Invalid,
    NotFound,
    NotNow,
    PolytillError,
    Stale,
    Unreadable,
)
from polytill.web.checkout.pages import templates
from polytill.web.console import flashes
from polytill.web.console.flashes import Done
from polytill.web.form_errors import Problems as Problems
from polytill.web.form_errors import amount_of as amount_of
from polytill.web.form_errors import errors_by_field as errors_by_field
from polytill.web.form_errors import problems_of_shape
from polytill.web.page_addresses import own_address
from polytill.web.problems import log_failure, sentence
from polytill.web.words import LANGUAGES, Said, Words, words_for

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    # Not no-referrer: browsers would then send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept-Language, Cookie",
}
MAX_FIELDS = 2000
FORM_TYPE = "application/x-www-form-urlencoded"
LANGUAGE_COOKIE = "polytill_language"
Model = TypeVar("Model", bound=BaseModel)


def words_of(request: Request) -> Words:
    """The reader's language and the time zone of the page's practice (UTC on the platform's own pages)."""
    words = words_for(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language", ""))
    zone = getattr(request.state, "zone", None)
    return words if zone is None else replace(words, zone=zone)


def page(
    request: Request, template: str, status: int = 200, *, error: CallerError | None = None, **values: Any
) -> Response:
    """Render a page. ``visitor`` is None if nobody is signed in. ``given`` is what a rejected form contained, and
    ``error`` its error, which decides the status and the errors of fields."""
    words, flash = words_of(request), flashes.read(request)
    errors: dict[str, Said] = values.pop("errors", {})
    if error is not None:
        status, errors = error.status, errors or errors_by_field(error)
    values = {
        "visitor": None,
        "given": {},
        **values,
        "errors": {name: words.told(said) for name, said in errors.items()},
    }
    html = templates.get_template(template).render(
        t=words, languages=LANGUAGES, path=request.url.path, back=own_address(request), flash=flash, **values
    )
    response = Response(html, status, dict(HEADERS), "text/html; charset=utf-8")
    flashes.forget(response, flash)
    return response


def see(address: str, done: Done | None = None) -> Response:
    """After a form: redirect to ``address`` and show the message there."""
    response = RedirectResponse(address, 303, {"Cache-Control": "no-store"})
    if done is not None:
        flashes.leave(response, address, done)
    return response


# ── Forms ──


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a submitted form."""

    values: dict[str, list[str]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """One field without surrounding spaces; empty if it was not sent."""
        return self.values.get(name, [""])[0].strip()

    def exact(self, name: str) -> str:
        """One field exactly as it was typed."""
        return self.values.get(name, [""])[0]

    def has(self, name: str) -> bool:
        """Whether a box was ticked or a button was pressed."""
        return name in self.values

    def key(self) -> str:
        """The idempotency key that makes a repeated submission of the same form harmless. Raises ``Forbidden``."""
        key = self.text("key")
        if not 20 <= len(key) <= 40 or not key.isascii() or not key.isalnum():
            raise out_of_date()
        return key

    def many(self, name: str) -> list[str]:
        """All values of a field."""
        return self.values.get(name, [])

    def given(self, *names: str) -> dict[str, str]:
        """The fields among ``names`` that are not empty."""
        return {name: self.text(name) for name in names if self.text(name)}


def out_of_date() -> Forbidden:
    """The error for a form that this session did not get from us, or that was altered."""
    return Forbidden("This form is out of date. Nothing was changed. Load the page again.", reason="form_out_of_date")


def read_form(body: bytes) -> Form:
    """Read a form's body. Raises ``Unreadable`` if it is not a form."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise Unreadable("The form could not be read.", reason="form_unreadable") from None
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        if "\x00" in value or "\x00" in name:
            raise Unreadable("The form contains a NUL character.", reason="form_unreadable")
        values.setdefault(name, []).append(value)
    return Form(values)


def _read_form_of(request: Request, body: bytes) -> Form:
    kind = request.headers.get("content-type", FORM_TYPE).partition(";")[0].strip().lower()
    if body and kind != FORM_TYPE:  # another content type may contain "=", too, and would be read as odd fields
        raise Unreadable("The form could not be read.", reason="form_unreadable")
    return read_form(body)


def form_of(request: Request) -> Form:
    """The form of this request."""
    form: Form = request.state.form
    return form


def shaped(shape: type[Model], values: dict[str, Any]) -> Model:
    """Validate values with one of the API's models, so that pages and API reject the same input. Raises ``Invalid``."""
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        raise Invalid(problems_of_shape(error, sentence)) from None


# ── Errors, and the origin of forms ──


class SignInNeeded(Exception):
    """Nobody is signed in to this part of the console."""

    def __init__(self, door: str) -> None:
        self.door = door


def same_site(request: Request) -> bool:
    """Whether a form comes from one of our own pages. Browsers send the origin of each form."""
    origin = request.headers.get("origin")
    if origin is None:
        return request.headers.get("sec-fetch-site") == "same-origin"
    public_url: str = request.app.state.till.context.settings.public_url
    there = urlsplit(origin)
    return origin == public_url or (bool(there.netloc) and there.netloc == request.headers.get("host"))


def _door(request: Request) -> str:
    """The home page that an error page links to."""
    parts = str(request.scope["path"]).split("/")
    if parts[1:2] == ["owner"]:
        return "/owner"
    return "/".join(parts[:3]) if parts[1:2] == ["practice"] and parts[2:3] and parts[2].isdecimal() else "/"


def failed(request: Request, status: int) -> Response:
    """An error page whose sentence depends only on the status."""
    words = words_of(request)
    name = "error.not_found" if status in (404, 410) else f"error.text_{status}"
    return _failed(request, status, words(name if words.has(name) else "error.text"))


def _failed(request: Request, status: int, detail: str) -> Response:
    key, words = f"error.title_{status}", words_of(request)
    title = words(key if words.has(key) else "error.title")
    # A signed-in person keeps the navigation: only the page failed, not the session.
    visitor = getattr(request.state, "visitor", None)
    return page(request, "error.html", status, title=title, detail=detail, door=_door(request), visitor=visitor)


def _error_page(request: Request, error: PolytillError | RequestValidationError | HTTPException) -> Response:
    if isinstance(error, HTTPException):
        return failed(request, error.status_code)
    if isinstance(error, NotFound | RequestValidationError):
        return failed(request, 404)
    if isinstance(error, Stale | Duplicate):
        error = NotNow("Somebody else changed this at the same time. Check it, then try again.", reason="somebody_else")
    if error.status >= 500:
        log_failure("page_failed", request, error)
    words = words_of(request)
    said = words.told(error) if words.has(f"fault.{error.reason}") else error.public or error.detail
    response = _failed(request, error.status, said)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


class PageRoute(APIRoute):
    """A route of a page: rejects forms from other sites, reads the form before anything else, and shows errors as
    pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See ``APIRoute``."""
        handle = super().get_route_handler()

        async def shown(request: Request) -> Response:
            try:
                if request.method == "POST":
                    if not same_site(request):
                        raise Forbidden(
                            "This form was sent from another site. Nothing was changed.", reason="other_site"
                        )
                    request.state.form = _read_form_of(request, await request.body())
                return await handle(request)
            except SignInNeeded as needed:
                if request.headers.get("hx-request"):
                    return Response(status_code=204, headers={"HX-Refresh": "true"})
                back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                follow = f"?next={quote(back, safe='')}" if request.method == "GET" and back != needed.door else ""
                return RedirectResponse(f"{needed.door}/login{follow}", 303, {"Cache-Control": "no-store"})
            except (PolytillError, RequestValidationError, HTTPException) as error:
                return _error_page(request, error)

        return shown


def page_router(prefix: str = "") -> APIRouter:
    """A router of console pages. They are not part of the OpenAPI document."""
    return APIRouter(prefix=prefix, route_class=PageRoute, include_in_schema=False)


def first_of(known: Iterable[str], wanted: str) -> str | None:
    """``wanted`` if it is in a closed list."""
    return wanted if wanted in set(known) else None


EXPECTED = (Invalid, Conflict)
