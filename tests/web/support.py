"""What the tests over HTTP have in common: paying, waiting with a bound, the provider's books, and every table's rows."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from html.parser import HTMLParser
from typing import Any

from polytill.domain.clock import World
from polytill.storage.databases import OwnerDb, PracticeDb
from tests.installation import TEST_KEYS, Answered, Installation

Json = dict[str, Any]

CURRENCY = {"stripe": "USD", "paystack": "NGN", "flutterwave": "NGN"}
PROVIDERS = tuple(CURRENCY)
PROBLEM_MEMBERS = {"type", "title", "status", "detail", "code", "requestId"}
_numbers = itertools.count(1)


class Clock:
    """Real time plus an offset that a test may move, or a moment at which it stands still."""

    def __init__(self) -> None:
        self.offset_s = 0.0
        self.stands_at: float | None = None

    def advance(self, seconds: float) -> None:
        self.offset_s += seconds

    def now(self) -> float:
        return time.time() + self.offset_s if self.stands_at is None else self.stands_at

    def world(self) -> World:
        return World(time_s=self.now, elapsed_s=self.now)


def fresh(prefix: str = "key") -> str:
    """A name that no other test of this process uses."""
    return f"{prefix}-{next(_numbers)}"


def fresh_keys(code: str) -> dict[str, str]:
    """Well-formed test keys of an account that no other test uses."""
    number = f"{next(_numbers):06d}"
    keys = dict(TEST_KEYS[code])
    end = "-X" if code == "flutterwave" else ""
    keys["secretKey"] = keys["secretKey"].removesuffix(end) + number + end
    return keys


async def until(ask: Callable[[], Awaitable[Any]], done: Callable[[Any], bool], tries: int = 600) -> Any:
    """Ask again until the answer is right. A wrong answer at the end fails the test with what it was."""
    found: Any = None
    for _ in range(tries):
        found = await ask()
        if done(found):
            return found
        await asyncio.sleep(0.025)
    raise AssertionError(f"this did not become true; the last answer was {found!r}")


class Practice:
    """A practice of an installation with one configured provider, and what a caller does with it."""

    def __init__(self, house: Installation, practice_id: int, key: str) -> None:
        self.house, self.id, self.key = house, practice_id, key
        self.base = f"/api/practices/{practice_id}"
        self.code = ""
        self.keys: dict[str, str] = {}
        self.configuration: Json = {}

    @classmethod
    async def make(cls, house: Installation, code: str | None = None, currency: str | None = None) -> Practice:
        """A fresh practice; with ``code``, that provider is configured with an account of its own."""
        currency = currency or CURRENCY.get(code or "", "NGN")
        practice = cls(house, *await house.practice(fresh("Practice"), currency))
        if code is not None:
            await practice.configure(code, [currency])
        return practice

    async def configure(self, code: str, currencies: list[str], **more: Any) -> Json:
        self.code, self.keys = code, fresh_keys(code)
        self.configuration = await self.house.configure(self.id, self.key, code, currencies, self.keys, **more)
        return self.configuration

    @property
    def db(self) -> Awaitable[PracticeDb]:
        return self.house.till.context.opening.practice(self.id)

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answered:
        return await self.house.call(method, self.base + path, self.key, body, **more)

    async def create(self, amount: int = 500_000, idempotency: str | None = None, **more: Any) -> Answered:
        body = {"amount": amount, "currency": CURRENCY.get(self.code, "NGN"), "customer": {"email": "ada@example.com"}}
        return await self.call("POST", "/payments", {**body, **more}, idempotency=idempotency or fresh())

    async def payment(self, payment_id: str) -> Json:
        found = await self.call("GET", f"/payments/{payment_id}")
        assert found.status == 200, found.body
        return dict(found.body)

    async def settled(self, payment_id: str, **wanted: Any) -> Json:
        """The payment once it shows what is wanted."""
        found = await until(
            lambda: self.payment(payment_id), lambda p: all(p[name] == value for name, value in wanted.items())
        )
        return dict(found)

    async def act(self, reference: str, outcome: str = "success") -> Json:
        """The payer acts at the provider."""
        body = {"outcome": outcome, "provider": self.code, "account": self.keys["secretKey"]}
        return dict(await self.house.network("POST", f"/pay/{reference}", body))

    async def paid(self, amount: int = 500_000, **more: Any) -> Json:
        """A payment that has succeeded."""
        made = await self.create(amount, **more)
        assert made.status == 201, made.body
        await self.act(made.body["attempts"][-1]["reference"])
        return await self.settled(made.body["id"], status="succeeded")

    async def refund(self, payment_id: str, amount: int | None = None, key: str | None = None) -> Answered:
        body = {} if amount is None else {"amount": amount}
        return await self.call("POST", f"/payments/{payment_id}/refunds", body, idempotency=key or fresh("refund"))

    async def books(self) -> list[Json]:
        """What the provider truly holds in this practice's account."""
        found = await self.house.network("GET", "/transactions")
        return [row for row in found if (row["provider"], row["account"]) == (self.code, self.keys["secretKey"])]

    async def ledger(self) -> Json:
        found = await self.call("GET", "/ledger?environment=sandbox")
        return dict(found.body["balances"])

    def delivery(self) -> tuple[bytes, dict[str, str]]:
        """The newest delivery of this account, whether it was sent or dropped: its bytes, signed now."""
        deliverer = self.house.simulator.network.deliverer
        newest = [d for d in deliverer.log if d.hook.url == self.configuration["webhookUrl"]][-1]
        return newest.body, deliverer._headers(newest)

    async def deliver(self, body: bytes, headers: dict[str, str], to: Practice | None = None) -> Answered:
        """Post a delivery to this practice's hook, or to another's."""
        url = (to or self).configuration["webhookUrl"].removeprefix(self.house.url)
        return await self.house.call("POST", url, raw=body, headers=headers)

    async def fault(self, operation: str, kind: str, count: int | None = 1, **more: Any) -> None:
        """Break this account's calls or deliveries."""
        body = {"provider": self.code, "operation": operation, "fault": kind, "account": self.keys["secretKey"]}
        await self.house.network("POST", "/faults", {**body, **({"count": count} if count else {}), **more})


def books_balance(balances: Json, books: list[Json], code: str) -> None:
    """The ledger says of a provider's account exactly what the provider's own books say, and every sum is zero."""
    held: dict[str, int] = {}
    for row in books:
        held[row["currency"]] = (
            held.get(row["currency"], 0) + row["captured"] - row["refunded"] - row["lost"] - row["fee"]
        )
    for currency, accounts in balances.items():
        assert sum(accounts.values()) == 0, (currency, accounts)
        assert accounts.get(f"provider:{code}", 0) == held.get(currency, 0), (currency, accounts, books)


# ── Every table ──


async def tables_of(db: OwnerDb | PracticeDb) -> list[str]:
    """The names of all tables of a database."""
    if db.engine.dialect == "sqlite":
        rows = await db.fetch("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    else:
        rows = await db.fetch("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
    return sorted(row["name"] for row in rows)


async def contents(db: OwnerDb | PracticeDb) -> dict[str, list[Json]]:
    """Every row of every table."""
    return {
        name: [dict(row) for row in await db.fetch(f'SELECT * FROM "{name}"')]  # the name comes from the database
        for name in await tables_of(db)
    }


# Tables that are written by the clock, whoever asks for what.
BY_THE_CLOCK = (
    "practice_leases", "nodes", "connection_shares", "routing_outcomes", "routing_fees", "routing_health"
)  # fmt: skip


async def snapshot(house: Installation, *practice_ids: int) -> dict[str, list[str]]:
    """All rows of the owner's database and of some practices, as text: equal before and after means nothing written."""
    found = {}
    databases: dict[str, OwnerDb | PracticeDb] = {"owner": house.till.context.owner}
    for practice_id in practice_ids:
        databases[f"practice {practice_id}"] = await house.till.context.opening.practice(practice_id)
    for place, db in databases.items():
        for table, rows in (await contents(db)).items():
            if table in BY_THE_CLOCK:
                continue
            found[f"{place}: {table}"] = sorted(repr(row) for row in rows)
    return found


# ── Problems and pages ──


def is_problem(answered: Answered, status: int, code: str | None = None) -> Json:
    """The answer is a problem document with every member that the contract names."""
    assert answered.status == status, (answered.status, answered.body)
    assert answered.headers["Content-Type"] == "application/problem+json", answered.headers
    body: Json = answered.body
    assert body.keys() >= PROBLEM_MEMBERS, body
    assert body.keys() <= PROBLEM_MEMBERS | {"errors"}, body
    assert body["status"] == status
    assert body["requestId"], body
    assert body["requestId"] == answered.headers["X-Request-Id"]
    assert all(body[name] for name in ("type", "title", "detail", "code")), body
    assert body["code"] == body["code"].lower().replace(" ", "_").replace("-", "_")
    for error in body.get("errors", []):
        assert error.keys() == {"pointer", "detail"}, error
        assert error["detail"]
    if code is not None:
        assert body["code"] == code, body
    return body


class Page(HTMLParser):
    """What a page holds: its forms, links and outside addresses."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[tuple[Json, dict[str, str]]] = []
        self.links: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.addresses += [value for name, value in values.items() if name in ("src", "href", "action", "srcset")]
        if tag == "form":
            self.forms.append((values, {}))
        elif tag == "input" and self.forms:
            self.forms[-1][1][values.get("name", "")] = values.get("value", "")
        elif tag == "a":
            self.links.append(values.get("href", ""))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def ways(self) -> list[str]:
        """Where the page leads, besides itself in another language."""
        return [link for link in self.links if "?lang=" not in link and "&lang=" not in link]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())
