"""Cookie sessions of owner staff and practice staff, and what each role may do."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Path, Request, Response

from polytill.app import Polytill
from polytill.domain.errors import Forbidden, Gone, NotFound
from polytill.domain.states import StaffRole
from polytill.flows.admin import staff
from polytill.flows.admin.staff import SignedIn
from polytill.flows.context import Context
from polytill.storage.databases import PracticeDb
from polytill.storage.practices import PracticeEntry
from polytill.storage.staff import Person, Session, StaffDb, listed
from polytill.web.console.flashes import Done
from polytill.web.console.pages import Form, SignInNeeded, form_of, out_of_date, page, see, words_of
from polytill.web.words import Words

FORM_TOKEN = "form_token"  # noqa: S105 — the name of the field
MAX_TOKEN = 100
LAST_PRACTICE = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Visitor:
    """A signed-in person with their request, and the services that pages use. ``db`` is the database of its staff."""

    request: Request
    till: Polytill
    session: Session
    form_token: str
    door: str
    db: StaffDb
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
    def form(self) -> Form:
        """The form that the person sent."""
        return form_of(self.request)

    @property
    def words(self) -> Words:
        """The person's language."""
        return words_of(self.request)

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """Render a page. See ``pages.page``."""
        return page(self.request, template, status, visitor=self, **values)

    def see(self, path: str = "", done: Done | None = None) -> Response:
        """After a form: redirect to a page of this part of the console, and show the message there."""
        return see(self.door + path, done)

    async def provider_names(self) -> dict[str, str]:
        """The name of each provider by code, in the person's language."""
        words = self.words
        return {entry.code: words.declared(entry.name) for entry in (await self.context.catalog()).values()}

    async def colleagues(self) -> dict[str, str]:
        """The staff by their names in the audit log."""
        return {f"user:{one.id}": one.name or one.email for one in await listed(self.db)}


@dataclass(frozen=True, slots=True)
class PracticeVisitor(Visitor):
    """A signed-in member of a practice's staff. ``db`` is the practice's database."""

    db: PracticeDb
    practice: PracticeEntry

    @property
    def practice_id(self) -> int:
        """The id of the practice."""
        return self.practice.id


AVisitor = TypeVar("AVisitor", bound=Visitor)


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


async def _visitor(
    kind: type[AVisitor], request: Request, door: str, db: StaffDb, practice: PracticeEntry | None
) -> AVisitor:
    till: Polytill = request.app.state.till
    token = request.cookies.get(cookie_name(door), "")
    session = await staff.session_of(till.context, db, token) if 0 < len(token) <= MAX_TOKEN else None
    if session is None:
        raise SignInNeeded(door)
    visitor = kind(request, till, session, staff.form_token(token), door, db, practice)
    request.state.visitor = visitor  # an error page keeps the navigation
    if request.method == "POST":
        sent = visitor.form.exact(FORM_TOKEN)
        if not hmac.compare_digest(sent.encode("utf-8", "surrogatepass"), visitor.form_token.encode()):
            raise out_of_date()
    return visitor


async def owner_viewer(request: Request) -> Visitor:
    """Any member of the owner's staff."""
    return await _visitor(Visitor, request, "/owner", request.app.state.till.context.owner, None)


PracticeId = Annotated[int, Path(ge=1, le=LAST_PRACTICE)]


async def practice_viewer(request: Request, practice_id: PracticeId) -> PracticeVisitor:
    """Any member of this practice's staff."""
    door = f"/practice/{practice_id}"
    context: Context = request.app.state.till.context
    if not request.cookies.get(cookie_name(door)):
        raise SignInNeeded(door)  # whether the practice exists or not
    try:
        entry, db = await context.opening.entry(practice_id), await context.opening.practice(practice_id)
    except (NotFound, Gone):
        raise SignInNeeded(door) from None
    request.state.zone = entry.zone  # for all times on the page
    return await _visitor(PracticeVisitor, request, door, db, entry)


def practice_at(request: Request) -> int | None:
    """The practice of an address; None in the owner's console. Raises ``NotFound`` if no practice can have this id."""
    given: str | None = request.path_params.get("practice_id")
    if given is None:
        return None
    if not given.isdecimal() or not 0 < int(given[:11]) <= LAST_PRACTICE:
        raise NotFound
    return int(given)


async def viewer(request: Request) -> Visitor:
    """Any member of the staff to which the address belongs, the owner's or a practice's."""
    practice_id = practice_at(request)
    return await (owner_viewer(request) if practice_id is None else practice_viewer(request, practice_id))


OwnerViewer = Annotated[Visitor, Depends(owner_viewer)]
PracticeViewer = Annotated[PracticeVisitor, Depends(practice_viewer)]
Viewer = Annotated[Visitor, Depends(viewer)]


def _allowed(visitor: AVisitor) -> AVisitor:
    if not visitor.is_admin:
        raise Forbidden("Your role cannot change anything. Ask an admin.", reason="only_looks")
    return visitor


async def owner_admin(visitor: OwnerViewer) -> Visitor:
    """An admin of the owner's staff."""
    return _allowed(visitor)


async def practice_admin(visitor: PracticeViewer) -> PracticeVisitor:
    """An admin of this practice's staff."""
    return _allowed(visitor)


async def admin(visitor: Viewer) -> Visitor:
    """An admin of the staff to which the address belongs."""
    return _allowed(visitor)


OwnerAdmin = Annotated[Visitor, Depends(owner_admin)]
PracticeAdmin = Annotated[PracticeVisitor, Depends(practice_admin)]
Admin = Annotated[Visitor, Depends(admin)]
