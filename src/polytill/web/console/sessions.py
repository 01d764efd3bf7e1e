"""Cookie sessions of owner staff and practice staff, and what each role may do."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request, Response

from polytill.app import Polytill
from polytill.domain.errors import Forbidden, NotFound
from polytill.domain.states import StaffRole
from polytill.flows.admin import staff
from polytill.flows.admin.staff import SignedIn
from polytill.flows.context import Context
from polytill.storage.databases import OwnerDb, PracticeDb
from polytill.storage.practices import PracticeEntry
from polytill.storage.staff import Person, Session, StaffDb
from polytill.web.console.pages import SignInNeeded, form_of

FORM_TOKEN = "form_token"  # noqa: S105 — the name of the field
MAX_TOKEN = 100


@dataclass(frozen=True, slots=True)
class Visitor:
    """A signed-in person, and the services that pages use."""

    till: Polytill
    session: Session
    form_token: str
    door: str
    practice: PracticeEntry | None

    @property
    def context(self) -> Context:
        """The dependencies of the flows."""
        return self.till.context

    @property
    def person(self) -> Person:
        """The person."""
        return self.session.person

    @property
    def is_admin(self) -> bool:
        """Whether the person may change things."""
        return self.person.role is StaffRole.admin

    @property
    def actor(self) -> str:
        """The person's name in the audit log."""
        return f"user:{self.person.id}"

    @property
    def practice_id(self) -> int:
        """The id of the staff's practice."""
        assert self.practice is not None
        return self.practice.id


@dataclass(frozen=True, slots=True)
class OfPractice:
    """A signed-in member of a practice's staff, and the practice's database."""

    visitor: Visitor
    db: PracticeDb


def cookie_name(door: str) -> str:
    """One cookie for the owner's console and one for practices; its path separates practices."""
    return "polytill_owner" if door == "/owner" else "polytill_practice"


def remember(response: Response, context: Context, door: str, signed_in: SignedIn) -> Response:
    """Set the session cookie: not readable by scripts, not sent by other sites, limited to this part of the console."""
    response.set_cookie(
        cookie_name(door),
        signed_in.token.reveal(),
        path=door,
        httponly=True,
        samesite="lax",
        secure=context.settings.public_url.startswith("https:"),
    )
    return response


def forget(response: Response, door: str) -> Response:
    """Delete the session cookie."""
    response.delete_cookie(cookie_name(door), path=door, httponly=True, samesite="lax")
    return response


async def _visitor(request: Request, db: StaffDb, door: str, practice: PracticeEntry | None) -> Visitor:
    till: Polytill = request.app.state.till
    token = request.cookies.get(cookie_name(door), "")
    session = await staff.session_of(till.context, db, token) if 0 < len(token) <= MAX_TOKEN else None
    if session is None:
        raise SignInNeeded(door)
    visitor = Visitor(till, session, staff.form_token(token), door, practice)
    request.state.visitor = visitor  # an error page keeps the navigation
    if request.method == "POST":
        sent = form_of(request).exact(FORM_TOKEN)
        if not hmac.compare_digest(sent.encode("utf-8", "surrogatepass"), visitor.form_token.encode()):
            raise Forbidden(
                "This form is out of date. Nothing was changed. Load the page again.", reason="form_out_of_date"
            )
    return visitor


def _allowed(visitor: Visitor) -> Visitor:
    if not visitor.is_admin:
        raise Forbidden("Your role cannot change anything. Ask an admin.", reason="only_looks")
    return visitor


async def owner_viewer(request: Request) -> Visitor:
    """Any member of the owner's staff."""
    owner: OwnerDb = request.app.state.till.context.owner
    return await _visitor(request, owner, "/owner", None)


async def owner_admin(request: Request) -> Visitor:
    """An admin of the owner's staff."""
    return _allowed(await owner_viewer(request))


PracticeId = Annotated[int, Path(ge=1, le=2**31 - 1)]


async def practice_viewer(request: Request, practice_id: PracticeId) -> OfPractice:
    """Any member of this practice's staff."""
    door = f"/practice/{practice_id}"
    context: Context = request.app.state.till.context
    if not request.cookies.get(cookie_name(door)):
        raise SignInNeeded(door)  # whether the practice exists or not
    try:
        entry, db = await context.opening.entry(practice_id), await context.opening.practice(practice_id)
    except NotFound:
        raise SignInNeeded(door) from None
    request.state.zone = entry.zone  # for all times on the page
    return OfPractice(await _visitor(request, db, door, entry), db)


async def practice_admin(request: Request, practice_id: PracticeId) -> OfPractice:
    """An admin of this practice's staff."""
    found = await practice_viewer(request, practice_id)
    _allowed(found.visitor)
    return found


OwnerViewer = Annotated[Visitor, Depends(owner_viewer)]
OwnerAdmin = Annotated[Visitor, Depends(owner_admin)]
PracticeViewer = Annotated[OfPractice, Depends(practice_viewer)]
PracticeAdmin = Annotated[OfPractice, Depends(practice_admin)]
