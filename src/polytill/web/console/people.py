"""People of the owner or of a practice: admins invite them, change their role, sign them out, and create new links.

The owner's admins see the owner's people, a practice's admins the practice's. A link is shown once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response

from polytill.domain.errors import NotFound
from polytill.flows.admin import staff as people
from polytill.storage import staff
from polytill.storage.staff import Person, StaffDb
from polytill.web.api.values import no_control
from polytill.web.console.flashes import Done
from polytill.web.console.pages import EXPECTED, PageRoute, errors_by_field, form_of, page, see, words_of
from polytill.web.console.sessions import Visitor, owner_admin, practice_admin
from polytill.web.console.shown_once import show_once

router = APIRouter(route_class=PageRoute, include_in_schema=False)

OWNER, PRACTICE = "/owner/people", "/practice/{practice_id}/people"
LONGEST_NAME = 100
MOST_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class AtDoor:
    """An admin, and the database of the people they manage."""

    visitor: Visitor
    db: StaffDb

    @property
    def address(self) -> str:
        """The address of the list."""
        return f"{self.visitor.door}/people"


async def _at_door(request: Request) -> AtDoor:
    practice_id = request.path_params.get("practice_id")
    if practice_id is None:
        visitor = await owner_admin(request)
        return AtDoor(visitor, visitor.context.owner)
    if not practice_id.isdecimal() or not 0 < int(practice_id[:11]) <= MOST_ID:
        raise NotFound
    found = await practice_admin(request, int(practice_id))
    return AtDoor(found.visitor, found.db)


At = Annotated[AtDoor, Depends(_at_door)]
PersonId = Annotated[int, Path(ge=1, le=MOST_ID)]


async def _list(request: Request, at: AtDoor, status: int = 200, **more: Any) -> Response:
    more.setdefault("given", {"role": "viewer"})
    return page(
        request,
        "people.html",
        status,
        visitor=at.visitor,
        people=await staff.listed(at.db),
        present=await people.present(at.visitor.context, at.db),
        **more,
    )


@router.get(OWNER)
@router.get(PRACTICE)
async def show(request: Request, at: At) -> Response:
    """List the people, with the form to invite one."""
    return await _list(request, at)


@router.post(OWNER)
@router.post(PRACTICE)
async def invite(request: Request, at: At) -> Response:
    """Invite a person. Only the next page shows the link."""
    form, visitor = form_of(request), at.visitor
    given = {name: form.text(name) for name in ("email", "name", "role")}
    try:
        no_control(given["name"])
        link = await people.invite(
            visitor.context, at.db, given["email"], given["name"][:LONGEST_NAME], given["role"], visitor.actor
        )
    except EXPECTED as error:
        return await _list(request, at, error.status, given=given, errors=errors_by_field(error))
    except ValueError:
        errors = {"name": words_of(request)("people.no_name")}
        return await _list(request, at, 422, given={**given, "name": ""}, errors=errors)
    return show_once(visitor, at.address, kind="link", email=given["email"], link=link)


# ── One person ──


async def _person(at: AtDoor, person_id: int) -> Person:
    found = next((one for one in await staff.listed(at.db) if one.id == person_id), None)
    if found is None:
        raise NotFound
    return found


async def _page(request: Request, at: AtDoor, person: Person, status: int = 200, **more: Any) -> Response:
    present = await people.present(at.visitor.context, at.db)
    return page(request, "person.html", status, visitor=at.visitor, person=person, here=present.get(person.id), **more)


@router.get(OWNER + "/{person_id}")
@router.get(PRACTICE + "/{person_id}")
async def one(request: Request, at: At, person_id: PersonId) -> Response:
    """Show one person: role, sessions, new link."""
    return await _page(request, at, await _person(at, person_id))


@router.post(OWNER + "/{person_id}")
@router.post(PRACTICE + "/{person_id}")
async def change(request: Request, at: At, person_id: PersonId) -> Response:
    """Change the role, or activate or deactivate. Either signs the person out everywhere."""
    form, visitor, person = form_of(request), at.visitor, await _person(at, person_id)
    try:
        await people.change(visitor.context, at.db, person.email, form.text("role"), form.has("active"), visitor.actor)
    except EXPECTED as error:
        return await _page(request, at, person, error.status, errors=errors_by_field(error))
    return see(f"{at.address}/{person_id}", Done.saved)


@router.post(OWNER + "/{person_id}/sessions")
@router.post(PRACTICE + "/{person_id}/sessions")
async def end_sessions(at: At, person_id: PersonId) -> Response:
    """End all of a person's sessions."""
    person = await _person(at, person_id)
    await people.end_sessions(at.visitor.context, at.db, person.email, at.visitor.actor)
    return see(f"{at.address}/{person_id}", Done.sessions_ended)


@router.post(OWNER + "/{person_id}/link")
@router.post(PRACTICE + "/{person_id}/link")
async def new_link(at: At, person_id: PersonId) -> Response:
    """Create a new link to choose a password, shown once. Earlier links end."""
    person = await _person(at, person_id)
    link = await people.link(at.visitor.context, at.db, person.email, at.visitor.actor)
    return show_once(at.visitor, at.address, kind="link", email=person.email, link=link)
