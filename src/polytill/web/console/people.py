"""People of the owner or of a practice: admins invite them, change their role, sign them out, and create new links.

The owner's admins see the owner's people, a practice's admins the practice's. A link is shown once.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Response

from polytill.domain.errors import NotFound
from polytill.flows.admin import staff as people
from polytill.storage import staff
from polytill.storage.staff import Person
from polytill.web.api.values import no_control
from polytill.web.console.flashes import Done
from polytill.web.console.pages import EXPECTED, page_router
from polytill.web.console.sessions import Admin, Visitor
from polytill.web.console.shown_once import show_once

router = page_router()

OWNER, PRACTICE = "/owner/people", "/practice/{practice_id}/people"
LONGEST_NAME = 100
MOST_ID = 2**31 - 1
PersonId = Annotated[int, Path(ge=1, le=MOST_ID)]


async def _list(visitor: Visitor, **more: Any) -> Response:
    return visitor.page(
        "people.html",
        people=await staff.listed(visitor.db),
        present=await people.present(visitor.context, visitor.db),
        **{"given": {"role": "viewer"}, **more},
    )


@router.get(OWNER)
@router.get(PRACTICE)
async def show(visitor: Admin) -> Response:
    """List the people, with the form to invite one."""
    return await _list(visitor)


@router.post(OWNER)
@router.post(PRACTICE)
async def invite(visitor: Admin) -> Response:
    """Invite a person. Only the next page shows the link."""
    given = {name: visitor.form.text(name) for name in ("email", "name", "role")}
    try:
        no_control(given["name"])
        link = await people.invite(
            visitor.context, visitor.db, given["email"], given["name"][:LONGEST_NAME], given["role"], visitor.actor
        )
    except EXPECTED as error:
        return await _list(visitor, error=error, given=given)
    except ValueError:
        errors = {"name": visitor.words("people.no_name")}
        return await _list(visitor, status=422, given={**given, "name": ""}, errors=errors)
    return _shown_once(visitor, given["email"], link)


def _shown_once(visitor: Visitor, email: str, link: str) -> Response:
    return show_once(visitor, f"{visitor.door}/people", kind="link", email=email, link=link)


# ── One person ──


async def _person(visitor: Visitor, person_id: int) -> Person:
    found = next((one for one in await staff.listed(visitor.db) if one.id == person_id), None)
    if found is None:
        raise NotFound
    return found


async def _page(visitor: Visitor, person: Person, **more: Any) -> Response:
    present = await people.present(visitor.context, visitor.db)
    return visitor.page("person.html", person=person, here=present.get(person.id), **more)


@router.get(OWNER + "/{person_id}")
@router.get(PRACTICE + "/{person_id}")
async def one(visitor: Admin, person_id: PersonId) -> Response:
    """Show one person: role, sessions, new link."""
    return await _page(visitor, await _person(visitor, person_id))


@router.post(OWNER + "/{person_id}")
@router.post(PRACTICE + "/{person_id}")
async def change(visitor: Admin, person_id: PersonId) -> Response:
    """Change the role, or activate or deactivate. Either signs the person out everywhere."""
    form, person = visitor.form, await _person(visitor, person_id)
    try:
        await people.change(
            visitor.context, visitor.db, person.email, form.text("role"), form.has("active"), visitor.actor
        )
    except EXPECTED as error:
        return await _page(visitor, person, error=error)
    return visitor.see(f"/people/{person_id}", Done.saved)


@router.post(OWNER + "/{person_id}/sessions")
@router.post(PRACTICE + "/{person_id}/sessions")
async def end_sessions(visitor: Admin, person_id: PersonId) -> Response:
    """End all of a person's sessions."""
    person = await _person(visitor, person_id)
    await people.end_sessions(visitor.context, visitor.db, person.email, visitor.actor)
    return visitor.see(f"/people/{person_id}", Done.sessions_ended)


@router.post(OWNER + "/{person_id}/link")
@router.post(PRACTICE + "/{person_id}/link")
async def new_link(visitor: Admin, person_id: PersonId) -> Response:
    """Create a new link to choose a password, shown once. Earlier links end."""
    person = await _person(visitor, person_id)
    link = await people.link(visitor.context, visitor.db, person.email, visitor.actor)
    return _shown_once(visitor, person.email, link)
