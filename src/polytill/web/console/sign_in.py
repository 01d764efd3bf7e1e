"""Signing in and out, choosing a password by a link, and changing it, for the owner and for each practice."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from fastapi import Query, Request, Response

from polytill.domain.errors import Forbidden, Gone, Invalid, NotFound, TooMany, Unauthorized
from polytill.flows.admin import staff
from polytill.flows.context import Context
from polytill.storage.staff import StaffDb
from polytill.web.console.flashes import Done
from polytill.web.console.pages import (
    LANGUAGE_COOKIE,
    SignInNeeded,
    errors_by_field,
    form_of,
    page,
    page_router,
    see,
    words_of,
)
from polytill.web.console.sessions import LAST_PRACTICE, Viewer, forget, practice_at, remember, viewer
from polytill.web.words import LANGUAGES

router = page_router()
OWNER, PRACTICE = "/owner", "/practice/{practice_id}"
A_YEAR_S = 365 * 24 * 3600


def _context(request: Request) -> Context:
    context: Context = request.app.state.till.context
    return context


def _door(request: Request) -> str:
    practice_id = practice_at(request)
    return OWNER if practice_id is None else f"/practice/{practice_id}"


async def _staff_db(request: Request) -> StaffDb | None:
    """The database of the staff at this address; None if the practice does not exist or is suspended."""
    context, practice_id = _context(request), practice_at(request)
    try:
        return context.owner if practice_id is None else await context.opening.practice(practice_id)
    except (NotFound, Forbidden, Gone):
        return None


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _after(door: str, wanted: str) -> str:
    """The page after signing in: only one of the same part of the console."""
    inside = wanted.startswith((f"{door}/", f"{door}?")) and "\\" not in wanted and "//" not in wanted
    return wanted if inside and not any(c < " " for c in wanted) else door


def _chosen(request: Request) -> str:
    form = form_of(request)
    if form.exact("password") != form.exact("again"):
        raise Invalid(errors=[], detail="The two passwords are not the same.", reason="two_passwords")
    return form.exact("password")


# ── Choice of sign-in page ──


@router.get("/")
async def doors(request: Request, practice: Annotated[str, Query(max_length=20)] = "") -> Response:
    """Show the way to the sign-in pages; ``?practice=`` redirects to that practice's, whether it exists or not."""
    number = practice.strip()
    if number.isascii() and number.isdigit() and 0 < int(number) <= LAST_PRACTICE:
        return see(f"/practice/{int(number)}/login")
    errors = {"practice": words_of(request)("doors.no_number")} if practice else {}
    return page(request, "start.html", 422 if errors else 200, given=practice, errors=errors)


# ── Sign in and out ──


@router.get(OWNER + "/login")
@router.get(PRACTICE + "/login")
async def login_page(request: Request) -> Response:
    """Show the sign-in page. A practice's is the same whether the practice exists or not."""
    return _login_page(request, request.query_params.get("next", ""))


def _login_page(request: Request, follow: str, status: int = 200, email: str = "", problem: str = "") -> Response:
    door = _door(request)
    return page(request, "login.html", status, door=door, email=email, problem=problem, follow=_after(door, follow))


@router.post(OWNER + "/login")
@router.post(PRACTICE + "/login")
async def login(request: Request) -> Response:
    """Check the password, and start a session."""
    context, door, db, form = _context(request), _door(request), await _staff_db(request), form_of(request)
    email, follow = form.text("email"), form.text("next")
    try:
        signed_in = await staff.sign_in(context, db, email[:254], form.exact("password"), _address(request))
    except (Unauthorized, TooMany) as error:
        said = words_of(request)("login.too_many" if isinstance(error, TooMany) else "login.wrong")
        return _login_page(request, follow, error.status, email, said)
    return remember(see(_after(door, follow)), context, door, signed_in)


@router.post(OWNER + "/logout")
@router.post(PRACTICE + "/logout")
async def logout(visitor: Viewer) -> Response:
    """End this session."""
    await staff.sign_out(visitor.context, visitor.db, visitor.session)
    return forget(visitor.see("/login", Done.signed_out), visitor.door)


# ── Passwords ──


@router.api_route(OWNER + "/welcome/{token}", methods=["GET", "POST"])
@router.api_route(PRACTICE + "/welcome/{token}", methods=["GET", "POST"])
async def welcome(request: Request, token: str) -> Response:
    """Choose a password by a link."""
    context, door, db = _context(request), _door(request), await _staff_db(request)
    if db is None:
        raise NotFound
    status, problem = 200, ""
    try:
        person = await staff.whose_link(context, db, token)
    except NotFound as error:
        return page(request, "link_gone.html", 404, door=door, detail=words_of(request).told(error))
    if request.method == "POST":
        try:
            signed_in = await staff.choose_password(context, db, token, _chosen(request))
            return remember(see(door), context, door, signed_in)
        except (Invalid, NotFound) as error:
            status, problem = error.status, words_of(request).told(next(iter(errors_by_field(error).values())))
    return page(request, "welcome.html", status, door=door, person=person, problem=problem)


@router.api_route(OWNER + "/password", methods=["GET", "POST"])
@router.api_route(PRACTICE + "/password", methods=["GET", "POST"])
async def password(request: Request, visitor: Viewer) -> Response:
    """Change one's own password."""
    if request.method == "GET":
        return visitor.page("password.html")
    context, old = visitor.context, visitor.form.exact("old")
    try:
        signed_in = await staff.change_password(
            context, visitor.db, visitor.session, old, _chosen(request), _address(request)
        )
    except (Invalid, TooMany) as error:
        return visitor.page("password.html", error=error)
    return remember(visitor.see("/password", Done.password), context, visitor.door, signed_in)


# ── Language ──


@router.get("/language/{language}")
async def choose_language(request: Request, language: str) -> Response:
    """Remember a language, and redirect to the page where the reader was."""
    if language not in LANGUAGES:
        raise NotFound
    back = request.query_params.get("back", "/owner")
    path = back.partition("?")[0]
    ours = back == "/" or (back.startswith(("/owner", "/practice/")) and "\\" not in back and "//" not in path)
    response = see(back if ours and not any(c < " " for c in back) else "/owner")
    response.set_cookie(LANGUAGE_COOKIE, language, max_age=A_YEAR_S, path="/", httponly=True, samesite="lax")
    return response


# The last routes: every address that no other route matches gets a "not found" page.
nowhere = page_router()


@nowhere.get("/practice/{rest:path}")
@nowhere.get(PRACTICE + "/{rest:path}")
@nowhere.get(OWNER + "/{rest:path}")
async def nothing_here(request: Request) -> Response:
    """Show "not found". A signed-in person keeps the navigation."""
    with suppress(SignInNeeded):
        await viewer(request)
    raise NotFound
