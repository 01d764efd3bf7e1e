"""People who sign in to the pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
from rich.table import Table

from polytill.cli.opened import Result, check_owner_or, console, opened
from polytill.flows.admin import staff
from polytill.flows.context import Context
from polytill.storage import staff as people
from polytill.storage.staff import StaffDb

people_app = typer.Typer(no_args_is_help=True, help="People who sign in to the pages: owner staff and practice staff.")


OfOwner = Annotated[bool, typer.Option("--owner", help="Staff of the platform's owner")]
OfPractice = Annotated[int | None, typer.Option("--practice", help="Staff of this practice")]
Email = Annotated[str, typer.Argument(help="The e-mail address with which the person signs in")]


def _with_staff(owner: bool, practice: int | None, work: Callable[[Context, StaffDb], Awaitable[Result]]) -> Result:
    """Run one operation on the people of the owner, or of a practice."""
    check_owner_or(practice, owner)

    async def run(context: Context) -> Result:
        db = context.owner if practice is None else await context.opening.practice(practice)
        return await work(context, db)

    return opened(run)


@people_app.command("create")
def people_create(
    email: Email,
    owner: OfOwner = False,
    practice: OfPractice = None,
    role: Annotated[str, typer.Option(help="admin, or viewer (read-only)")] = "admin",
    name: Annotated[str, typer.Option(help="The person's name")] = "",
) -> None:
    """Invite a person. Prints the address where they choose their password: valid for three days, and once."""
    address = _with_staff(owner, practice, lambda context, db: staff.invite(context, db, email, name, role, "cli"))
    console.print(address, soft_wrap=True)


@people_app.command("reset")
def people_reset(email: Email, owner: OfOwner = False, practice: OfPractice = None) -> None:
    """Print an address where a person chooses a new password. The old password works until it is used."""
    address = _with_staff(owner, practice, lambda context, db: staff.link(context, db, email, "cli"))
    console.print(address, soft_wrap=True)


@people_app.command("change")
def people_change(
    email: Email,
    owner: OfOwner = False,
    practice: OfPractice = None,
    role: Annotated[str | None, typer.Option(help="admin or viewer")] = None,
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Whether the person may sign in")] = None,
) -> None:
    """Change a person's role, or whether they may sign in. They are signed out everywhere."""
    person = _with_staff(owner, practice, lambda context, db: staff.change(context, db, email, role, active, "cli"))
    console.print(f"{person.email}: {person.role}, {'active' if person.is_active else 'inactive'}")


@people_app.command("list")
def people_list(owner: OfOwner = False, practice: OfPractice = None) -> None:
    """List the people of the owner or of a practice."""
    table = Table("e-mail", "name", "role", "active", "password")
    for p in _with_staff(owner, practice, lambda context, db: people.listed(db)):
        table.add_row(p.email, p.name, p.role, "yes" if p.is_active else "no", "yes" if p.has_password else "not yet")
    console.print(table)
