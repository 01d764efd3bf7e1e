"""People: invitations, passwords, sessions and their limits, on both engines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import argon2
import pytest

from polytill.app import Polytill
from polytill.domain.errors import Conflict, Invalid, NotFound, TooMany, Unauthorized
from polytill.flows.admin import staff
from polytill.flows.admin.practices import NewPractice, create_practice
from polytill.storage import staff as rows
from polytill.storage.staff import StaffDb
from tests.installation import PRODUCT_HASHER, fresh_settings, opened
from tests.web.support import Clock

PASSWORD = "four unrelated words"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def till(tmp_path: Path, engine_url: str | None, clock: Clock) -> AsyncIterator[Polytill]:
    async with opened(fresh_settings(tmp_path, engine_url), world=clock.world()) as found:
        yield found


@pytest.fixture(params=["owner", "practice"])
async def db(till: Polytill, request: pytest.FixtureRequest) -> StaffDb:
    if request.param == "owner":
        return till.context.owner
    entry, _ = await create_practice(till.context, NewPractice("Clinic", "NGN"), "test")
    return await till.context.opening.practice(entry.id)


async def _person(till: Polytill, db: StaffDb, email: str = "ada@example.com", role: str = "admin") -> staff.SignedIn:
    link = await staff.invite(till.context, db, email, "Ada", role, "test")
    return await staff.choose_password(till.context, db, link.rpartition("/")[2], PASSWORD)


async def _session(till: Polytill, db: StaffDb, signed_in: staff.SignedIn) -> rows.Session | None:
    return await staff.session_of(till.context, db, signed_in.token.reveal())


async def test_invited_then_signed_in(till: Polytill, db: StaffDb) -> None:
    link = await staff.invite(till.context, db, " Ada@Example.com ", "Ada", "viewer", "test")
    assert link.startswith(f"{till.context.settings.public_url}{staff.door_of(db)}/welcome/")
    with pytest.raises(Unauthorized):  # no password yet
        await staff.sign_in(till.context, db, "ada@example.com", "", "here")
    token = link.rpartition("/")[2]
    first = await staff.choose_password(till.context, db, token, PASSWORD)
    with pytest.raises(NotFound):  # good for once
        await staff.choose_password(till.context, db, token, PASSWORD)
    again = await staff.sign_in(till.context, db, "ADA@example.com", PASSWORD, "here")
    for signed_in in (first, again):
        found = await _session(till, db, signed_in)
        assert found is not None
        assert (found.person.email, found.person.role) == ("ada@example.com", "viewer")
    # Neither tokens nor passwords stand in the database.
    stored = repr(
        [dict(r) for table in ("sessions", "users", "person_links") for r in await db.fetch(f"SELECT * FROM {table}")]
    )
    for secret in (PASSWORD, token, first.token.reveal(), again.token.reveal()):
        assert secret not in stored


async def test_a_session_ends(till: Polytill, db: StaffDb, clock: Clock) -> None:
    idle = await _person(till, db)
    clock.advance(staff.IDLE_S - 10)
    assert await _session(till, db, idle) is not None  # used: the idle time starts again
    clock.advance(staff.IDLE_S - 10)
    assert await _session(till, db, idle) is not None
    clock.advance(staff.IDLE_S + 10)
    assert await _session(till, db, idle) is None
    busy = await staff.sign_in(till.context, db, "ada@example.com", PASSWORD, "here")
    for _ in range(staff.ABSOLUTE_S // 3600):
        assert await _session(till, db, busy) is not None
        clock.advance(3600)
    clock.advance(1)
    assert await _session(till, db, busy) is None  # however busy it was
    out = await staff.sign_in(till.context, db, "ada@example.com", PASSWORD, "here")
    found = await _session(till, db, out)
    assert found is not None
    await staff.sign_out(till.context, db, found)
    assert await _session(till, db, out) is None


async def test_what_ends_every_session(till: Polytill, db: StaffDb) -> None:
    first = await _person(till, db)
    second = await staff.sign_in(till.context, db, "ada@example.com", PASSWORD, "here")
    found = await _session(till, db, second)
    assert found is not None
    with pytest.raises(Invalid):
        await staff.change_password(till.context, db, found, "not the old one", "another good password", "here")
    fresh = await staff.change_password(till.context, db, found, PASSWORD, "another good password", "here")
    assert [await _session(till, db, one) for one in (first, second)] == [None, None]
    assert await _session(till, db, fresh) is not None
    with pytest.raises(Unauthorized):
        await staff.sign_in(till.context, db, "ada@example.com", PASSWORD, "here")
    link = await staff.link(till.context, db, "ada@example.com", "test")
    assert await _session(till, db, fresh) is not None  # a link alone signs nobody out
    reset = await staff.choose_password(till.context, db, link.rpartition("/")[2], PASSWORD)
    assert await _session(till, db, fresh) is None
    await staff.change(till.context, db, "ada@example.com", "viewer", None, "test")
    assert await _session(till, db, reset) is None
    last = await staff.sign_in(till.context, db, "ada@example.com", PASSWORD, "here")
    await staff.change(till.context, db, "ada@example.com", None, False, "test")
    assert await _session(till, db, last) is None
    with pytest.raises(Unauthorized):
        await staff.sign_in(till.context, db, "ada@example.com", PASSWORD, "here")


async def test_links_expire_and_replace_each_other(till: Polytill, db: StaffDb, clock: Clock) -> None:
    first = await staff.invite(till.context, db, "ada@example.com", "", "admin", "test")
    second = await staff.link(till.context, db, "ada@example.com", "test")
    with pytest.raises(NotFound):
        await staff.whose_link(till.context, db, first.rpartition("/")[2])
    clock.advance(staff.LINK_S + 1)
    with pytest.raises(NotFound):
        await staff.choose_password(till.context, db, second.rpartition("/")[2], PASSWORD)


async def test_failures_are_counted_for_strangers_too(till: Polytill, db: StaffDb, clock: Clock) -> None:
    await _person(till, db)
    for email in ("ada@example.com", "nobody@example.com"):
        for _ in range(staff.TRIES_OF_PAIR):
            with pytest.raises(Unauthorized):
                await staff.sign_in(till.context, db, email, "wrong", "there")
        with pytest.raises(TooMany):
            await staff.sign_in(till.context, db, email, PASSWORD, "there")
    await staff.sign_in(till.context, db, "ada@example.com", PASSWORD, "elsewhere")  # others are not locked out
    clock.advance(staff.WINDOW_S + 1)
    await staff.sign_in(till.context, db, "ada@example.com", PASSWORD, "there")


@pytest.mark.parametrize(
    ("email", "role"),
    [("", "admin"), ("no at", "admin"), ("a@b", "boss"), ("a@b\x00", "admin"), ("a" * 260 + "@b", "admin")],
)
async def test_bad_invitations(till: Polytill, email: str, role: str) -> None:
    with pytest.raises(Invalid):
        await staff.invite(till.context, till.context.owner, email, "", role, "test")
    assert await rows.listed(till.context.owner) == []


async def test_bad_passwords_use_no_link_up(till: Polytill) -> None:
    owner = till.context.owner
    link = await staff.invite(till.context, owner, "long-enough@example.com", "", "admin", "test")
    token = link.rpartition("/")[2]
    for password in ("", "short", "x" * 201, "Long-Enough@example.com"):
        with pytest.raises(Invalid):
            await staff.choose_password(till.context, owner, token, password)
    await staff.choose_password(till.context, owner, token, PASSWORD)
    with pytest.raises(Conflict):
        await staff.invite(till.context, owner, "LONG-enough@example.com", "", "viewer", "test")


def test_the_hash_of_a_password() -> None:
    """Argon2id with three passes over 64 MiB, as RFC 9106 recommends where memory is limited."""
    found = argon2.extract_parameters(PRODUCT_HASHER.hash(PASSWORD))
    assert found == argon2.Parameters(argon2.Type.ID, 19, 16, 32, time_cost=3, memory_cost=64 * 1024, parallelism=4)
