"""Signing in and out, choosing a password by a link, and changing it, for the owner and for each practice."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from polytill.domain.errors import CallerError, Forbidden, Invalid, NotFound, PolytillError, TooMany, Unauthorized
from polytill.flows.admin import staff
from polytill.flows.context import Context
from polytill.storage.databases import PracticeDb
from polytill.storage.staff import StaffDb
from polytill.web.console.flashes import Done
from polytill.web.console.pages import (
    LANGUAGE_COOKIE,
    PageRoute,
    SignInNeeded,
    errors_by_field,
    form_of,
    page,
    see,
    words_of,
)
from polytill.web.console.sessions import (
    OwnerViewer,
    PracticeId,
    PracticeViewer,
    Visitor,
    forget,
    owner_viewer,
    practice_viewer,
    remember,
)
from polytill.web.console.texts import LANGUAGES, Said

router = APIRouter(route_class=PageRoute, include_in_schema=False)
MOST_PRACTICES = 2**31 - 1
A_YEAR_S = 365 * 24 * 3600


def _desk(request: Request) -> Context:
    context: Context = request.app.state.till.context
    return context


async def _practice(request: Request, practice_id: int) -> PracticeDb | None:
    try:
        return await _desk(request).opening.practice(practice_id)
    except (NotFound, Forbidden):
        return None


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _after(door: str, wanted: str) -> str:
    """The page after signing in: only one of the same part of the console."""
    inside = wanted.startswith((f"{door}/", f"{door}?")) and "\\" not in wanted and "//" not in wanted
    return wanted if inside and not any(c < " " for c in wanted) else door


def _login_page(request: Request, door: str, status: int = 200, email: str = "", problem: str = "") -> Response:
    form = request.state.form if request.method == "POST" else None
    follow = form.text("next") if form else request.query_params.get("next", "")
    return page(request, "login.html", status, door=door, email=email, problem=problem, follow=_after(door, follow))


async def _login(request: Request, door: str, db: StaffDb | None) -> Response:
    form = form_of(request)
    email = form.text("email")
    try:
        signed_in = await staff.sign_in(_desk(request), db, email[:254], form.exact("password"), _address(request))
    except (Unauthorized, TooMany) as error:
        said = words_of(request)("login.too_many" if isinstance(error, TooMany) else "login.wrong")
        return _login_page(request, door, error.status, email, said)
    return remember(see(_after(door, form.text("next"))), _desk(request), door, signed_in)


def _chosen(request: Request) -> str:
    form = form_of(request)
    if form.exact("password") != form.exact("again"):
        raise Invalid(errors=[], detail="The two passwords are not the same.", reason="two_passwords")
    return form.exact("password")


async def _welcome(request: Request, door: str, db: StaffDb | None, token: str) -> Response:
    if db is None:
        raise NotFound
    status, problem = 200, ""
    try:
        person = await staff.whose_link(_desk(request), db, token)
    except NotFound as error:
        return page(request, "link_gone.html", 404, door=door, detail=words_of(request).told(error))
    if request.method == "POST":
        try:
            signed_in = await staff.choose_password(_desk(request), db, token, _chosen(request))
            return remember(see(door), _desk(request), door, signed_in)
        except (Invalid, NotFound) as error:
            status, problem = error.status, words_of(request).told(next(iter(errors_by_field(error).values())))
    return page(request, "welcome.html", status, door=door, person=person, problem=problem)


async def _password(request: Request, visitor: Visitor, db: StaffDb) -> Response:
    status, errors = 200, {}
    if request.method == "POST":
        form = form_of(request)
        try:
            signed_in = await staff.change_password(
                visitor.context, db, visitor.session, form.exact("old"), _chosen(request), _address(request)
            )
            return remember(see(f"{visitor.door}/password", Done.password), visitor.context, visitor.door, signed_in)
        except (Invalid, TooMany) as error:
            status, errors = error.status, _named(error)
    return page(request, "password.html", status, visitor=visitor, errors=errors)


def _named(error: PolytillError) -> dict[str, Said]:
    assert isinstance(error, CallerError)
    return errors_by_field(error)


# ── Choice of sign-in page ──


@router.get("/")
async def doors(request: Request, practice: Annotated[str, Query(max_length=20)] = "") -> Response:
    """Show the way to the sign-in pages; ``?practice=`` redirects to that practice's, whether it exists or not."""
    number = practice.strip()
    if number.isascii() and number.isdigit() and 0 < int(number) <= MOST_PRACTICES:
        return see(f"/practice/{int(number)}/login")
    errors = {"practice": words_of(request)("doors.no_number")} if practice else {}
    return page(request, "start.html", 422 if errors else 200, given=practice, errors=errors)


# ── Owner ──


@router.get("/owner/login")
async def owner_login_page(request: Request) -> Response:
    """Show the sign-in page of owner staff."""
    return _login_page(request, "/owner")


@router.post("/owner/login")
async def owner_login(request: Request) -> Response:
    """Check the password, and start a session."""
    return await _login(request, "/owner", _desk(request).owner)


@router.api_route("/owner/welcome/{token}", methods=["GET", "POST"])
async def owner_welcome(request: Request, token: str) -> Response:
    """Choose a password by a link."""
    return await _welcome(request, "/owner", _desk(request).owner, token)


@router.post("/owner/logout")
async def owner_logout(visitor: OwnerViewer) -> Response:
    """End this session."""
    await staff.sign_out(visitor.context, visitor.context.owner, visitor.session)
    return forget(see("/owner/login", Done.signed_out), "/owner")


@router.api_route("/owner/password", methods=["GET", "POST"])
async def owner_password(request: Request, visitor: OwnerViewer) -> Response:
    """Change one's own password."""
    return await _password(request, visitor, visitor.context.owner)


# ── Practice ──


@router.get("/practice/{practice_id}/login")
async def practice_login_page(request: Request, practice_id: PracticeId) -> Response:
    """Show the sign-in page of practice staff. It is the same whether the practice exists or not."""
    return _login_page(request, f"/practice/{practice_id}")


@router.post("/practice/{practice_id}/login")
async def practice_login(request: Request, practice_id: PracticeId) -> Response:
    """Check the password, and start a session."""
    return await _login(request, f"/practice/{practice_id}", await _practice(request, practice_id))


@router.api_route("/practice/{practice_id}/welcome/{token}", methods=["GET", "POST"])
async def practice_welcome(request: Request, practice_id: PracticeId, token: str) -> Response:
    """Choose a password by a link."""
    return await _welcome(request, f"/practice/{practice_id}", await _practice(request, practice_id), token)


@router.post("/practice/{practice_id}/logout")
async def practice_logout(found: PracticeViewer) -> Response:
    """End this session."""
    door = found.visitor.door
    await staff.sign_out(found.visitor.context, found.db, found.visitor.session)
    return forget(see(f"{door}/login", Done.signed_out), door)


@router.api_route("/practice/{practice_id}/password", methods=["GET", "POST"])
async def practice_password(request: Request, found: PracticeViewer) -> Response:
    """Change one's own password."""
    return await _password(request, found.visitor, found.db)


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
nowhere = APIRouter(route_class=PageRoute, include_in_schema=False)


@nowhere.get("/owner/{rest:path}")
async def nothing_here(request: Request, rest: str) -> Response:
    """Show "not found". A signed-in person keeps the navigation."""
    with suppress(SignInNeeded):
        await owner_viewer(request)
    raise NotFound


@nowhere.get("/practice/{practice_id}/{rest:path}")
async def nothing_of_practice(request: Request, practice_id: PracticeId, rest: str) -> Response:
    """Show "not found" in a practice's dashboard."""
    with suppress(SignInNeeded):
        await practice_viewer(request, practice_id)
    raise NotFound


@nowhere.get("/practice/{rest:path}")
async def no_practice(rest: str) -> Response:
    """Show "not found" at an address that names no practice."""
    raise NotFound
