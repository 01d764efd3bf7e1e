"""A destination that misbehaves in any way loses no event: each is sent again under its id, and delays no other.

Source: issue 18, item 9.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from polytill.app import Polytill
from polytill.flows.admin.event_destination import remove_destination, set_destination
from polytill.flows.worker import claims, event_delivery
from polytill.flows.worker.event_delivery import CLAIM_MARGIN_S, RETRY_S, EventSender
from polytill.storage import event_deliveries
from polytill.storage.event_deliveries import Delivery
from polytill.storage.units import moment
from tests.regressions.test_event_deliveries import Host, delivering, happen, host, settle_for, states, until

__all__ = ["host"]

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _read_request(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    await reader.readexactly(length)


@contextlib.asynccontextmanager
async def raw_host(answer: Answering) -> AsyncIterator[str]:
    """An endpoint that says whatever bytes a test wants."""

    tasks: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await _read_request(reader)
                await answer(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/events"
    finally:
        server.close()
        running = [task for task in tasks if task is not None and not task.done()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _pending(till: Polytill) -> list[Delivery]:
    return await event_deliveries.listed(till.context.owner, "pending", None, None, 100)


async def _due(till: Polytill) -> None:
    async with till.context.owner.transaction() as tx:
        tx.add("UPDATE event_deliveries SET next_try_at = $1", till.context.shared_after(-1))


async def _one_byte_a_second(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in b"HTTP/1.1 204 No Content\r\n\r\n":
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(1)


async def _status_and_then_drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _byte in range(100):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(1)


async def _headers_without_end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(100_000):
        writer.write(b"X-%d: %s\r\n" % (number, b"y" * 200))
        await writer.drain()


async def _nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    await writer.drain()


async def _hangs_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@pytest.mark.parametrize("answer", [_one_byte_a_second, _headers_without_end, _nonsense, _hangs_up])
async def test_an_answer_that_is_none_is_sent_again(till: Polytill, answer: Answering) -> None:
    settle_for(till, event_timeout_s=2.0)
    async with raw_host(answer) as url:
        await set_destination(till.context, url, "test")
        await happen(till, 1, 2)
        began_s = time.monotonic()
        assert await event_delivery.deliver(till.context) == 2
        assert time.monotonic() - began_s < 6
    found = await _pending(till)
    assert [(one.tries, one.last_status) for one in found] == [(1, None)] * 2
    assert all(one.last_error for one in found)


async def test_a_body_that_drips_is_not_waited_for(till: Polytill) -> None:
    async with raw_host(_status_and_then_drip) as url:
        await set_destination(till.context, url, "test")
        await happen(till, 1, 3)
        began_s = time.monotonic()
        assert await event_delivery.deliver(till.context) == 3
        assert time.monotonic() - began_s < 6
    assert await states(till) == {"delivered": 3}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304, 400, 401, 404, 410, 429, 500, 502, 503])
async def test_only_2xx_counts_and_no_redirect_is_followed(till: Polytill, host: Host, status: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status} X\r\nLocation: {host.url}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        await reader.read()  # until the other side hangs up

    async with raw_host(answer) as url:
        await set_destination(till.context, url, "test")
        await happen(till, 1, 1)
        await event_delivery.deliver(till.context)
    [one] = await _pending(till)
    assert (one.tries, one.last_status) == (1, status)
    assert host.received == [], "the signed event went elsewhere"


@pytest.mark.parametrize("url", ["https://no-such-host.invalid/events", "https://127.0.0.1:{port}/events"])
async def test_no_address_and_no_valid_certificate(till: Polytill, url: str, tmp_path: Any) -> None:
    """Nothing is sent where the other side does not prove who it is; the event waits."""
    said: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=_self_signed(tmp_path))
    try:
        await set_destination(till.context, url.format(port=server.sockets[0].getsockname()[1]), "test")
        await happen(till, 1, 1)
        await event_delivery.deliver(till.context)
    finally:
        server.close()
    [one] = await _pending(till)
    assert (one.tries, one.last_status) == (1, None)
    assert one.last_error is not None
    assert said == []


def _self_signed(folder: Any) -> ssl.SSLContext:
    from datetime import UTC, datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    path = folder / "cert.pem"
    path.write_bytes(
        made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


async def test_a_worker_killed_after_the_answer_sends_the_same_event_again(
    till: Polytill, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host has the event, and nobody wrote so: it comes again under its id, and the next of its payment after it."""
    await set_destination(till.context, host.url, "test")
    first, second = await happen(till, 1, 1, each=2)
    dead = EventSender(till.context)
    await dead.turn()
    await until(lambda: host.ids() == [first])
    await dead.pause(2)
    # It is killed here: the answer was read, and no statement of it follows.
    claim_s, now = till.context.settings.event_timeout_s + CLAIM_MARGIN_S, till.context.shared_after
    monkeypatch.setattr(type(till.context), "shared_after", lambda _, seconds: now(seconds + claim_s + 1))
    await event_delivery.deliver(till.context)
    assert host.ids() == [first, first, second]
    assert await states(till) == {"delivered": 2}
    assert await dead.turn() == 1, "it was only stopped for a while, and writes what it knows"
    assert await states(till) == {"delivered": 2}
    assert [one.tries for one in await event_deliveries.listed(till.context.owner, None, None, None, 9)] == [1, 1]


async def test_the_order_of_a_payment_is_kept_after_failures(till: Polytill, host: Host) -> None:
    host.answers[1] = 500
    await set_destination(till.context, host.url, "test")
    made = await happen(till, 1, 1, each=3)
    for _ in range(3):
        await event_delivery.deliver(till.context)
        await _due(till)
    assert host.ids() == [made[0]] * 3
    host.answers.clear()
    await event_delivery.deliver(till.context)
    assert host.ids()[3:] == made


async def test_a_destination_removed_and_set_again_sends_no_event_twice_at_once(till: Polytill, host: Host) -> None:
    host.hanging = {1}
    await set_destination(till.context, host.url, "test")
    async with delivering(till):
        hung = await happen(till, 1, 2)
        await until(lambda: sorted(host.ids()) == hung)
        await remove_destination(till.context, "test")
        await set_destination(till.context, host.url, "test")
        host.hanging = set()
        [later] = await happen(till, 2, 1)
        await until(lambda: host.ids(2) == [later], 5)
        await asyncio.sleep(0.7)
    assert sorted(host.ids()) == [*hung, later]
    assert await states(till) == {"delivered": 1}, "what was pending left with the destination, and stays in the feed"


@pytest.mark.parametrize("tries", [0, 1, len(RETRY_S)])
async def test_a_clock_that_was_a_day_ahead_holds_up_no_event(till: Polytill, host: Host, tries: int) -> None:
    """The time of day was wrong when the next try was planned, and is right again: it was a day late."""
    await set_destination(till.context, host.url, "test")
    [event_id] = await happen(till, 1, 1)
    longest_s = (0, *RETRY_S)[tries] * 1.2
    async with till.context.owner.transaction() as tx:
        tx.add(
            "UPDATE event_deliveries SET tries = $1, next_try_at = $2, claimed_by = 'dead', claimed_until = $2",
            tries,
            till.context.shared_after(86_400 + longest_s),
        )
    await claims.lease_all(till.context)
    [one] = await _pending(till)
    now = till.context.shared_after(0)
    assert one.next_try_at is not None
    assert one.next_try_at <= now
    claim_s = till.context.settings.event_timeout_s + CLAIM_MARGIN_S
    async with till.context.owner.transaction() as tx:
        ends = (await tx.fetch("SELECT claimed_until FROM event_deliveries"))[0]["claimed_until"]
        claimed_until = moment(ends)
        assert claimed_until is not None
        assert claimed_until <= now + timedelta(seconds=claim_s)
        tx.add("UPDATE event_deliveries SET claimed_until = $1", till.context.shared_after(-1))
    await event_delivery.deliver(till.context)
    assert host.ids() == [event_id]


@pytest.mark.parametrize("tries", [1, 5, len(RETRY_S)])
async def test_a_pause_that_a_correct_clock_planned_is_kept(till: Polytill, tries: int) -> None:
    await set_destination(till.context, "https://platform.example/events", "test")
    await happen(till, 1, 1)
    planned = till.context.shared_after(RETRY_S[tries - 1] * 1.2)
    async with till.context.owner.transaction() as tx:
        tx.add("UPDATE event_deliveries SET tries = $1, next_try_at = $2", tries, planned)
    await claims.lease_all(till.context)
    [one] = await _pending(till)
    assert one.next_try_at is not None
    assert abs(one.next_try_at - planned) < timedelta(seconds=1)
