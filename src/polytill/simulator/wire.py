"""The boundary between HTTP and the simulated providers: a call comes in, an answer goes out.

A provider is a plain object that maps a ``Call`` to an ``Answer`` without awaiting anything, so that a fault can run it
early, late or not at all. Sockets, faults and the HTML of pages do not belong here.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from polytill.simulator.books import USUAL, Account, Dispute, DisputeStory, Json, Refund, Transaction

if TYPE_CHECKING:
    from polytill.simulator.network import Network

Fields = Mapping[str, str]  # headers, query parameters, or the fields of a form
Headers = dict[str, str]  # of an answer or a webhook


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read completely. ``base`` is the address that the caller used for the simulator."""

    method: str
    path: str
    query_string: str
    headers: Fields
    body: bytes
    base: str

    @property
    def query(self) -> dict[str, str]:
        """The query parameters. A repeated parameter has its last value."""
        return dict(parse_qsl(self.query_string, keep_blank_values=True))

    @property
    def marked_query(self) -> Json:
        """The query parameters with a leading ``?``, so that they never hide a member of the body."""
        return {f"?{name}": value for name, value in self.query.items()}

    @property
    def document(self) -> Json | None:
        """The body as a JSON object, or None if it is not one."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return document if isinstance(document, dict) else None

    @property
    def given(self) -> Json | None:
        """The members of the body; of a GET or without a body, the marked query. None if the body is not an object."""
        return self.marked_query if self.method == "GET" or not self.body.strip() else self.document


@dataclass(frozen=True, slots=True)
class Answer:
    """One response."""

    status: int
    body: bytes
    headers: Headers = field(default_factory=dict)
    content_type: str = "application/json"


def json_answer(document: Any, status: int = 200, headers: Headers | None = None) -> Answer:
    """An answer with a compact JSON body."""
    return Answer(status, compact(document), headers or {})


def part_of(given: Json, *path: str) -> Json:
    """An object inside a request. Empty if it is missing, or is not an object."""
    for name in path:
        inner = given.get(name)
        given = inner if isinstance(inner, dict) else {}
    return given


def dated(rows: list[Json], first: str, last: str) -> list[Json]:
    """The rows that were created in this time. A date without time means its start or its end; "" is no limit."""
    end = f"{last}T23:59:59.999Z" if len(last) == 10 else last
    return [row for row in rows if first <= row["created_at"] and (not end or row["created_at"] <= end)]


def whole(text: str, low: int, high: int) -> int | None:
    """A whole number in decimal digits, or None if the text is none within these bounds."""
    return int(text) if text.isdecimal() and low <= int(text) <= high else None


def compact(document: Any) -> bytes:
    """JSON as the providers print it: no spaces."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def bearer(headers: Fields) -> str | None:
    """The token of an ``Authorization: Bearer`` header."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def with_query(url: str, values: Fields) -> str:
    """``url`` with these query parameters added to its own."""
    parts = urlsplit(url)
    query = f"{parts.query}&{urlencode(values)}" if parts.query else urlencode(values)
    return urlunsplit(parts._replace(query=query))


def is_web_address(url: object) -> bool:
    """Whether a browser may be redirected to ``url``."""
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"[\s\x00-\x1f]", url)


@dataclass(frozen=True, slots=True)
class PayPage:
    """What a hosted payment page shows. ``state``: open | paid | expired."""

    provider: str
    title: str
    merchant: str
    description: str
    amount: str
    currency: str
    state: str
    reference: str | None
    note: str = ""


class Rejected(Exception):
    """The provider rejects what was asked of it. Its own rejections add what its answers need."""


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of a provider's route table. ``operation`` is its class of faults."""

    method: str
    pattern: re.Pattern[str]
    operation: str
    run: Callable[..., Answer]


def route(address: str, run: Callable[..., Answer], operation: str | None = None) -> Route:
    """The route of ``GET /a/{id}``: its pattern has one named group per brace. A GET is a lookup unless it is named."""
    method, path = address.split()
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)
    return Route(method, re.compile(f"^{pattern}$"), operation or ("lookup" if method == "GET" else "other"), run)


class Provider(ABC):
    """A simulated provider: its HTTP API above, the actions of the payer and the dashboard below."""

    name: str
    prefix: str
    key_pattern: re.Pattern[str]

    def __init__(self, network: Network) -> None:
        self.network = network
        self.routes = self.table()

    @abstractmethod
    def table(self) -> list[Route]:
        """The addresses that this provider answers."""

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route of a request, with the parts of its path."""
        for line in self.routes:
            found = line.pattern.match(path)
            if line.method == method and found:
                return line, found.groupdict()
        return None

    def operation(self, method: str, path: str) -> str:
        """The fault class of a request: create, confirm, capture, cancel, refund, lookup or other."""
        found = self.find(method, path)
        return found[0].operation if found else "other"

    @property
    def now(self) -> float:
        """The simulator's time in seconds."""
        return self.network.now()

    def account(self, key: str) -> Account:
        """The account of a well-formed key, created on first use."""
        return self.network.account(self.name, key)

    def book(
        self, account: Account, name: str, reference: str | None, money: tuple[int, str], wire: object, status: str
    ) -> Transaction:
        """Book a new transaction. ``money``: ISO minor units and the currency."""
        tx = Transaction(self.name, account.key, name, reference, *money, self.now, status, wire=wire)
        account.transactions.append(tx)
        return tx

    def publish(self, tx: Transaction, event: str, document: Json) -> None:
        """Send an event to the registrations of a transaction's account."""
        self.network.publish(self.account(tx.account), event, document)

    def key_of(self, headers: Fields) -> str | None:
        """The secret key that a request carries, right or wrong."""
        return bearer(headers)

    def well_formed(self, key: str) -> bool:
        """Whether this provider could have issued ``key``. One that contains "invalid" is never right."""
        return self.key_pattern.fullmatch(key) is not None and "invalid" not in key.lower()

    def standing(self, key: str) -> str:
        """The state of the account of a key (``Account.standing``)."""
        account = self.network.accounts.get((self.name, key))
        return account.standing if account else "active"

    def accepts(self, key: str) -> bool:
        """Whether this provider knows ``key``."""
        return self.well_formed(key) and self.standing(key) not in ("unknown", "other_environment")

    def enter(self, call: Call) -> Answer | None:
        """Called before ``handle``. An answer here (a replay, a conflict) means that nothing else runs."""
        return None

    def leave(self, call: Call) -> None:
        """Called after ``handle``, or if it will never run."""
        return None

    @abstractmethod
    def handle(self, call: Call) -> Answer:
        """Act on a request. Never raises for anything that a client sent."""

    def answer(self, call: Call) -> Answer:
        """The whole sequence: enter, handle, leave."""
        return self.enter(call) or self.finish(call)

    def finish(self, call: Call) -> Answer:
        """The rest of the sequence for a call that has entered."""
        try:
            return self.handle(call)
        finally:
            self.leave(call)

    @abstractmethod
    def broken(self, status: int) -> Answer:
        """This provider's own answer to a 500 or a 429."""

    def remember(self, call: Call, answer: Answer) -> None:
        """Store ``answer`` as the first answer of this call if the provider has idempotency keys."""
        return None

    @abstractmethod
    def sign(self, account: str, secret: str, body: bytes) -> Headers:
        """The headers that authenticate a webhook sent now."""

    @abstractmethod
    def pay(self, account: Account, transaction: Transaction, outcome: str) -> Transaction:
        """The payer acts: success, decline or abandon. Returns the transaction that holds the outcome."""

    @abstractmethod
    def refund_in_dashboard(self, account: Account, transaction: Transaction, amount: int) -> Refund:
        """A refund made in the provider's dashboard, not through the merchant's software."""

    @abstractmethod
    def fail_refund(self, account: Account, transaction: Transaction, refund: Refund) -> None:
        """A refund that succeeded fails."""

    @abstractmethod
    def dispute(self, account: Account, transaction: Transaction, outcome: str, story: DisputeStory = USUAL) -> Dispute:
        """The customer's bank opens a dispute (open), decides it (won, lost: from the merchant's side) or closes it
        (closed). Opening a chargeback while an inquiry is open turns the inquiry into a chargeback."""

    @abstractmethod
    def page(self, account: Account, tx: Transaction, token: str, query: Fields) -> PayPage | None:
        """The hosted page of a transaction. None if the query does not open it."""

    @abstractmethod
    def submit(self, account: Account, tx: Transaction, token: str, outcome: str, form: Fields) -> str | None:
        """The payer pressed a button. Returns the address to send the browser to, or None to stay."""


def problem(status: int, code: str, detail: str, errors: list[Json] | None = None) -> Answer:
    """A rejected control call (RFC 9457)."""
    titles = {400: "Bad request", 404: "Not found", 405: "Method not allowed", 409: "Conflict"}
    body: Json = {
        "type": "about:blank",
        "title": titles.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
    }
    if errors:
        body["errors"] = errors
    return Answer(status, compact(body), {}, "application/problem+json")
