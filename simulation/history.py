"""One history: practices, nodes, customers and faults from one seed, run until nothing is pending, judged by the books."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from polytill.app import Polytill
from polytill.background import sweep
from polytill.domain.states import Environment
from polytill.flows import lease
from polytill.simulator.books import Account, Transaction
from polytill.simulator.deliveries import Hook
from polytill.simulator.wire import Provider
from simulation import oracle
from simulation.calm import come_to_rest
from simulation.deaths import NodeDied
from simulation.director import direct
from simulation.ground import PUSHED, Ground, Profile, secret_key, webhook_secret
from simulation.loop import NothingToDo, run
from simulation.nodes import Life, Node
from simulation.plan import Plan
from simulation.telling import Tally
from simulation.wires import WorldNetwork


@dataclass(slots=True)
class Merchant:
    """One account at a provider, and its practice."""

    practice: int
    provider: str
    environment: Environment
    account: Account
    version: int = 1
    seen: int = 0
    left: bool = False  # for another account: no new payments, but everything else continues


@dataclass(slots=True)
class Judged:
    """The result of a history. Without problems, every fact of the books is in the rows and vice versa."""

    seed: int
    problems: list[str]
    lines: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)


class History:
    """The state of one run. All its randomness comes from the seed, in the order in which the loop requests it."""

    def __init__(self, ground: Ground, seed: int, telling: bool) -> None:
        self.ground, self.seed = ground, seed
        self.loop = ground.loop
        self.loop.now = 0.0
        # Four streams, so that the actors' choices do not change with the number of pauses in the product.
        self.jitter = random.Random(seed ^ 0x71773)
        self.bytes: Callable[[int], bytes] = random.Random(seed ^ 0x5EED).randbytes
        self.lines: list[str] | None = [] if telling else None
        self.tally = Tally(1)
        self.problems: list[str] = []
        self.active, self.over = True, False
        self.operations = 0
        self.plan = Plan.draw(seed)
        self.kept = ground.lay(self.plan.profiles)
        self.network = WorldNetwork(self)
        self.revoked: set[tuple[str, str]] = set()
        self.handed: set[str] = set()  # references whose payment link a customer has
        self.keys: dict[tuple[int, str], str] = {}  # the payment of each idempotency key
        self.asked: dict[str, int] = {}  # refunds that hosts requested, by their key
        self.other_amount: set[str] = set()  # references that a customer paid with another amount
        self.agreed: dict[
            str, float
        ] = {}  # when a customer approved at PayPal, by reference, while the payment was open here
        self.agreed_too_late: set[str] = set()  # and those approved long after we gave up the payment
        self.heard: set[str] = set()  # references that a provider without pages has reported, processed or not
        self.forged_receipts: set[str] = set()  # references about which somebody sent a made-up M-Pesa receipt
        self.rekeyed: set[tuple[int, str]] = set()  # practices whose keys at a provider were changed
        self.said: dict[str, list[tuple[str, bool, str | None]]] = {}  # the decisions that staff tried, by subject
        self.decided: dict[str, tuple[str, bool, str | None]] = {}  # and the decisions that were confirmed to them
        self.strange: set[str] = set()  # references that the practice's software did not create
        self.told_only: list[str] = []  # ids of facts that a provider reports only by webhook
        self.hook_names: dict[str, str] = {}
        self.merchants: list[Merchant] = []
        self._by_payment: dict[str, list[Transaction]] = {}
        self._points = 0
        self._met: set[str] = set()
        for number, profile in self.plan.profiles.items():
            for code in profile.providers:
                self._open_accounts(number, code, profile)
        self.nodes = [Node(self, name) for name in "AB"[: self.plan.nodes]]

    def _open_accounts(self, number: int, code: str, profile: Profile) -> None:
        environments = [profile.environment] + ([Environment.sandbox] if profile.sandbox_beside else [])
        for environment in environments:
            self.open_account(number, code, environment)

    def open_account(self, number: int, code: str, environment: Environment, version: int = 1) -> Merchant:
        """Open a practice's account at a provider and register its webhook address."""
        account = self.network.account(code, secret_key(number, code, environment, version))
        merchant = Merchant(number, code, environment, account, version)
        self.merchants.append(merchant)
        self.register(merchant)
        return merchant

    def register(self, merchant: Merchant) -> None:
        """Register an account's webhook address and signing secret at the provider."""
        profile = self.plan.profiles[merchant.practice]
        token = self.ground.tokens[merchant.practice, profile][merchant.provider]
        url = f"http://127.0.0.1:8420/hooks/{token}"
        self.hook_names[url] = f"practice {merchant.practice} {merchant.provider}"
        signed_with = webhook_secret(merchant.practice, merchant.provider, merchant.environment, merchant.version)
        self.network.deliverer.register(
            Hook(merchant.provider, merchant.account.key, url, signed_with, refund_events=True)
        )

    # ── Reporting ──

    def tell(self, line: str) -> None:
        """Add one line to the history."""
        if self.lines is not None:
            self.lines.append(f"{self.loop.now:>12.3f}  {line}")

    def count(self, kind: str) -> None:
        """Count one event of this kind."""
        self.tally.counts[kind] += 1

    def problem(self, text: str) -> None:
        """Record a problem: something that must never happen."""
        if text not in self.problems:
            self.problems.append(text)
            self.tell(f"PROBLEM {text}")

    def unexpected(self, text: str) -> None:
        """Record an error that no caller can have caused."""
        self.problem(f"error: {text}")

    # ── Crashes ──

    def dies_at(self, point: str) -> bool:
        """Whether the node that passes this point crashes there."""
        fresh = point not in self._met
        if fresh:
            self._met.add(point)
        if not self.active:
            return False
        self._points += 1
        for trigger in self.plan.crashes:
            if trigger.strikes(point, self._points, len(self._met) if fresh else -1):
                self.plan.crashes.remove(trigger)
                return True
        return False

    def any_life(self) -> Life | None:
        """Any node that is up."""
        up = [life for life in (node.up() for node in self.nodes) if life is not None]
        return self.jitter.choice(up) if up else None

    async def sweep(self, life: Life) -> None:
        """One sweep of a node."""
        till = Polytill(life.context)
        try:
            await lease.renew(life.context)
            await sweep(till.context, everyone=not life.swept)
            life.swept = True
        except NodeDied:
            raise
        except Exception as error:
            self.unexpected(f"a sweep ended in {type(error).__name__}: {error}")

    # ── Books ──

    def look_at_books(self, provider: Provider, key: str | None) -> None:
        """Called after every call: records its transactions at the provider; a second payable link is a problem."""
        for merchant in self.merchants:
            account = merchant.account
            while merchant.seen < len(account.transactions):
                tx = account.transactions[merchant.seen]
                merchant.seen += 1
                self._made(merchant, tx)

    def _made(self, merchant: Merchant, tx: Transaction) -> None:
        # Its attempt was on disk before the call.
        attempts = oracle.read(self, merchant.practice, ("payment_attempts",)).tables["payment_attempts"]
        payment_id = next((row["payment_id"] for row in attempts if row["id"] == tx.reference), None)
        if payment_id is None:
            return
        before = self._by_payment.setdefault(payment_id, [])
        for other in before:
            # A charge without a page reaches the customer at once: on their phone, or as an account to pay into.
            if other.payable and (other.reference in self.handed or other.provider in PUSHED):
                # An earlier attempt than the link that the customer has is a delayed call. Ids do not show the order:
                # clocks jump.
                rows = [row for row in attempts if row["payment_id"] == payment_id]
                number = {row["id"]: row["number"] for row in rows}
                if number.get(tx.reference, len(rows) + 1) > number.get(other.reference, 0):
                    self.problem(f"a second link for payment {payment_id} while the payer holds one that can be paid")
        before.append(tx)

    def transaction(self, practice: int, reference: str) -> tuple[Merchant, Transaction] | None:
        """The transaction of one of our references: the one that can be paid, else the newest."""
        for merchant in self.merchants:
            if merchant.practice != practice:
                continue
            found = [tx for tx in merchant.account.transactions if tx.reference == reference]
            if found and reference not in self.strange:
                payable = [tx for tx in found if tx.payable]
                return merchant, (payable or found)[-1]
        return None

    def transactions_of(self, payment_id: str) -> list[Transaction]:
        """The transactions at all providers for one payment."""
        return self._by_payment.get(payment_id, [])

    # ── The run ──

    async def live(self) -> None:
        """Run from the first act to the verdict."""
        self._describe()
        for node in self.nodes:
            node.boot()
        await direct(self)
        self.active = False
        await come_to_rest(self)
        self.over = True

    def _describe(self) -> None:
        for number, profile in self.plan.profiles.items():
            self.count("shape.several_practices") if number > 1 else None
            self.tell(f"practice {number}: {profile.name}")
            for code in profile.providers:
                self.count(f"shape.{code}")
        if self.plan.nodes > 1:
            self.count("shape.two_nodes")
        self.tell(f"nodes: {self.plan.nodes}; deaths: {', '.join(map(str, self.plan.crashes)) or 'none planned'}")


# ── Running one ──


@contextmanager
def _overhearing(history: History) -> Iterator[None]:
    """Report errors that the product only logs: some of them are bugs that nothing else would show."""

    def hear(logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
        name, error = event.get("event"), event.get("error")
        if method == "error":
            if error in _OURS or name == "handler_failed":
                history.unexpected(f"{name}: {error}")
            else:
                history.tell(f"log: {name} {error}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[hear], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)


# Types of logged errors that can only be bugs of the product.
_OURS = frozenset(
    {
        "AssertionError", "AttributeError", "KeyError", "TypeError", "ValueError", "IndexError", "StopIteration",
        "StopAsyncIteration", "RuntimeError", "TransactionOpen", "NameError", "OperationalError", "IntegrityError",
        "ProgrammingError", "InterfaceError", "SealBroken", "WrongPractice",
    }
)  # fmt: skip


def run_history(ground: Ground, seed: int, telling: bool = False) -> Judged:
    """Run one history. The same seed gives the same history, whether lines are recorded or not."""
    history = History(ground, seed, telling)
    with _overhearing(history):
        try:
            run(history.loop, history.live())
        except NothingToDo:
            history.problem("everybody waits for ever")
        finally:
            history.over = True
            for node in history.nodes:
                life = node.up()
                if life is not None:
                    life.die()
    return Judged(seed, history.problems, history.lines or [], history.tally)
