"""The control calls under ``/_network``: the oracle, the faults, the payer, the clock.

They read and control the network. A bad body is a 400 with a sentence, never a 500. Optional members: a fault takes
``count``, ``delaySeconds``, ``account`` (affects one account only), ``acts`` (timeout, not_json and answer: whether the
provider acts; random by default, and never for answer), ``status`` (not_json: 200 or 502; answer: any), ``body``
(answer: the JSON object to answer with) and ``stored`` (a 500 of Stripe under an idempotency key: whether it is stored
and replayed, by default yes). A pay with the outcome ``decline`` takes ``code`` and ``message``, the provider's code
and text of the decline, which may be unknown ones. A webhook takes ``refundEvents`` (Flutterwave's own switch). Pay,
refund and dispute take ``provider`` and ``account`` if several transactions share a reference. The oracle takes
``provider``, ``account``, ``reference`` and ``status`` as a query. An account takes ``standing`` (active; inactive: not
activated or approved; unknown: no such key; other_environment), ``denied`` (what its key may not do, of payments,
refunds, account, separated by commas) and ``publicKey`` (Stripe: the account's own publishable key).
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from polytill.simulator.books import Account, DisputeStory, Json, Transaction, iso_time
from polytill.simulator.deliveries import Hook, is_loopback
from polytill.simulator.faults import CALL_FAULTS, DEFAULT_DELAYS, OPERATIONS, WEBHOOK_FAULTS, Fault, to_response
from polytill.simulator.network import Network
from polytill.simulator.wire import json_answer, problem

OUTCOMES = ("success", "decline", "abandon")
STANDINGS = ("active", "inactive", "unknown", "other_environment")
DENIABLE = frozenset({"payments", "refunds", "account"})
_MISSING = object()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Bad(Exception):
    """A control call that cannot be carried out."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


class _Body:
    """A JSON object whose members are read one by one. Members that were not read are rejected."""

    def __init__(self, document: Json) -> None:
        self._document = document
        self._asked: set[str] = set()

    def _get(self, name: str) -> object:
        self._asked.add(name)
        return self._document.get(name, _MISSING)

    def text(self, name: str, default: str | None = None, *, needed: bool = True) -> str | None:
        """A string."""
        value = self._get(name)
        if value is _MISSING or value is None:
            if needed and default is None:
                raise _Bad(400, "missing_member", f"'{name}' is missing")
            return default
        if not isinstance(value, str) or (needed and not value):
            raise _Bad(400, "invalid_member", f"'{name}' must be a non-empty string")
        return value

    def choice(self, name: str, words: Iterable[str], default: str | None = None) -> str:
        """One of a closed list."""
        value, known = self.text(name, default), tuple(words)
        if value not in known:
            raise _Bad(400, "invalid_member", f"'{name}' must be one of {', '.join(known)}")
        return str(value)

    def number(self, name: str, low: float, high: float, default: float) -> float:
        """A finite number within bounds."""
        value = self._get(name)
        if value is _MISSING or value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise _Bad(400, "invalid_member", f"'{name}' must be a number")
        if not low <= value <= high:
            raise _Bad(400, "invalid_member", f"'{name}' must be between {low:g} and {high:g}")
        return float(value)

    def integer(self, name: str, low: int, high: int) -> int | None:
        """A whole number within bounds, or None when absent."""
        value = self._get(name)
        if value is _MISSING or value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _Bad(400, "invalid_member", f"'{name}' must be a whole number between {low} and {high}")
        return value

    def flag(self, name: str) -> bool | None:
        """A boolean, or None when absent."""
        value = self._get(name)
        if value is _MISSING or value is None:
            return None
        if not isinstance(value, bool):
            raise _Bad(400, "invalid_member", f"'{name}' must be true or false")
        return value

    def document(self, name: str) -> Json | None:
        """A JSON object, or None when absent."""
        value = self._get(name)
        if value is _MISSING or value is None:
            return None
        if not isinstance(value, dict):
            raise _Bad(400, "invalid_member", f"'{name}' must be a JSON object")
        return value

    def done(self) -> None:
        """Reject members that were not read, so that a typo cannot pass unnoticed."""
        unknown = sorted(set(self._document) - self._asked)
        if unknown:
            raise _Bad(400, "unknown_member", f"unknown: {', '.join(unknown)}")


async def _read(request: web.Request, optional: bool = False) -> _Body:
    raw = await request.read()
    if optional and not raw.strip():
        return _Body({})
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise _Bad(400, "unreadable_body", "the body must be a JSON object") from None
    if not isinstance(document, dict):
        raise _Bad(400, "unreadable_body", "the body must be a JSON object")
    return _Body(document)


def _ok(document: object, status: int = 200) -> web.Response:
    return to_response(json_answer(status, document))


def _guard(act: Callable[[Network, web.Request], Awaitable[web.Response]], network: Network) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await act(network, request)
        except _Bad as bad:
            return to_response(problem(bad.status, bad.code, bad.detail))

    return handle


def _provider(network: Network, body: _Body, *extra: str) -> str:
    return body.choice("provider", (*network.providers, *extra))


# The books


async def _transactions(network: Network, request: web.Request) -> web.Response:
    wanted = {
        name: request.query[name] for name in ("provider", "account", "reference", "status") if name in request.query
    }
    rows = [tx.as_control() for tx in network.transactions()]
    return _ok([row for row in rows if all(row[name] == value for name, value in wanted.items())])


def _find(network: Network, request: web.Request, body: _Body) -> tuple[Account, Transaction]:
    provider, account = body.text("provider", needed=False), body.text("account", needed=False)
    reference = request.match_info["reference"]
    found = network.by_reference(reference, provider, account)
    if found is None:
        raise _Bad(404, "unknown_reference", f"no transaction has the reference '{reference}'")
    return network.account(found.provider, found.account), found


async def _pay(network: Network, request: web.Request) -> web.Response:
    body = await _read(request)
    outcome = body.choice("outcome", OUTCOMES)
    code, message = body.text("code", needed=False), body.text("message", needed=False)
    account, tx = _find(network, request, body)
    body.done()
    if not tx.payable:
        raise _Bad(409, "not_payable", f"the transaction is {tx.status}: the payer can do nothing any more")
    if (code or message) and (outcome != "decline" or not code):
        raise _Bad(
            400, "invalid_member", "'code' and 'message' belong to the outcome 'decline', and 'code' must be there"
        )
    tx.said = (code, message or "") if code else None
    return _ok(network.providers[tx.provider].pay(account, tx, outcome).as_control())


async def _refund(network: Network, request: web.Request) -> web.Response:
    body = await _read(request, optional=True)
    amount = body.integer("amount", 1, 10**15)
    account, tx = _find(network, request, body)
    body.done()
    if not 0 < (amount or tx.refundable) <= tx.refundable:
        raise _Bad(409, "not_refundable", f"{tx.refundable} of {tx.captured} can be refunded")
    network.providers[tx.provider].refund_in_dashboard(account, tx, amount or tx.refundable)
    return _ok(tx.as_control())


async def _fail_refund(network: Network, request: web.Request) -> web.Response:
    wanted = request.match_info["id"]
    for tx in network.transactions():
        for refund in tx.refunds:
            if refund.id == wanted:
                if refund.status == "failed":
                    raise _Bad(409, "already_failed", "the refund has failed before")
                account = network.account(tx.provider, tx.account)
                network.providers[tx.provider].fail_refund(account, tx, refund)
                return _ok(tx.as_control())
    raise _Bad(404, "unknown_refund", f"no refund has the id '{wanted}'")


async def _dispute(network: Network, request: web.Request) -> web.Response:
    body = await _read(request)
    outcome = body.choice("outcome", ("open", "won", "lost", "closed"))
    story = DisputeStory(
        body.choice("kind", ("chargeback", "inquiry"), "chargeback"),
        body.integer("amount", 1, 10**15),
        body.text("reason", needed=False),
        body.flag("bare") or False,
        body.flag("withRefund") or False,
        body.flag("withReversal") or False,
        body.flag("showsMoney") or False,
        body.flag("again") or False,
    )
    account, tx = _find(network, request, body)
    body.done()
    if not tx.captured:
        raise _Bad(409, "not_disputable", f"the transaction is {tx.status}: there is nothing to dispute")
    known = tx.dispute_for(story)
    if outcome == "open" and known is not None and (known.kind, story.kind) != ("inquiry", "chargeback"):
        raise _Bad(409, "already_disputed", "a dispute is open")
    if (story.amount or 0) > tx.captured:
        raise _Bad(409, "not_disputable", f"no more than {tx.captured} can be disputed")
    network.providers[tx.provider].dispute(account, tx, outcome, story)
    return _ok(tx.as_control())


# Faults


async def _add_fault(network: Network, request: web.Request) -> web.Response:
    body = await _read(request)
    provider = _provider(network, body, "*")
    kind = body.choice("fault", (*CALL_FAULTS, *WEBHOOK_FAULTS))
    operation = body.choice("operation", OPERATIONS)
    if operation != "*" and (operation == "webhook") != (kind in WEBHOOK_FAULTS):
        raise _Bad(400, "invalid_member", f"'{kind}' cannot happen to the operation '{operation}'")
    status, scripted = body.integer("status", 200, 599), body.document("body")
    if status not in (None, 200, 502) and kind != "answer":
        raise _Bad(400, "invalid_member", "'status' must be 200 or 502")
    if (scripted is None) is (kind == "answer"):
        raise _Bad(400, "invalid_member", "'body' is what the fault 'answer' says, and belongs to it alone")
    stored = body.flag("stored")
    rule = Fault(
        id="",
        provider=provider,
        operation=operation,
        kind=kind,
        probability=body.number("probability", 0, 1, 1.0),
        count=body.integer("count", 1, 10**9),
        delay=body.number("delaySeconds", 0, 31_536_000, DEFAULT_DELAYS.get(kind, 0.0)),
        account=body.text("account", needed=False),
        acts=body.flag("acts"),
        status=status,
        stored=True if stored is None else stored,
        body=scripted,
    )
    body.done()
    rule.id = network.faults.next_id()
    network.faults.rules.append(rule)
    return _ok(rule.as_control(), 201)


async def _list_faults(network: Network, request: web.Request) -> web.Response:
    return _ok([rule.as_control() for rule in network.faults.rules])


async def _clear_faults(network: Network, request: web.Request) -> web.Response:
    network.faults.rules.clear()
    return web.Response(status=204)


# Accounts


async def _set_account(network: Network, request: web.Request) -> web.Response:
    body = await _read(request)
    name = _provider(network, body)
    key = body.text("account") or ""
    standing = body.choice("standing", STANDINGS, "active")
    denied = frozenset(word for word in (body.text("denied", "", needed=False) or "").split(",") if word)
    public_key = body.text("publicKey", needed=False)
    body.done()
    if not network.providers[name].well_formed(key):
        raise _Bad(400, "invalid_member", f"'account' must be a well-formed secret key of {name}")
    if denied - DENIABLE:
        raise _Bad(400, "invalid_member", f"'denied' may hold {', '.join(sorted(DENIABLE))}")
    account = network.account(name, key)
    account.standing, account.denied, account.public_key = standing, denied, public_key
    shown: Json = {"provider": name, "account": key, "standing": standing, "denied": sorted(denied)}
    return _ok({**shown, "publicKey": public_key})


# Webhooks, clock, health


async def _add_hook(network: Network, request: web.Request) -> web.Response:
    body = await _read(request)
    name = _provider(network, body)
    account, url = body.text("account") or "", body.text("url") or ""
    secret = body.text("secret", "", needed=False) or ""
    refund_events = bool(body.flag("refundEvents"))
    body.done()
    if not network.providers[name].well_formed(account):
        raise _Bad(400, "invalid_member", f"'account' must be a well-formed secret key of {name}")
    if not is_loopback(url):
        raise _Bad(400, "not_loopback", "'url' must be an http address of this machine: nothing is delivered elsewhere")
    if not secret and name not in ("paystack", "mpesa"):
        raise _Bad(400, "missing_member", "'secret' is missing")
    network.account(name, account)
    hook = Hook(name, account, url, secret, refund_events=refund_events)
    network.deliverer.register(hook)
    return _ok(_hook(hook), 201)


def _hook(hook: Hook) -> Json:
    """A registration without its secret."""
    shown = {"provider": hook.provider, "account": hook.account, "url": hook.url}
    return {**shown, "secretSet": bool(hook.secret), "refundEvents": hook.refund_events}


async def _list_hooks(network: Network, request: web.Request) -> web.Response:
    return _ok([_hook(hook) for hook in network.deliverer.hooks])


async def _deliveries(network: Network, request: web.Request) -> web.Response:
    return _ok([delivery.as_control() for delivery in network.deliverer.log])


async def _advance(network: Network, request: web.Request) -> web.Response:
    body = await _read(request)
    seconds = body.number("advanceSeconds", 0, 315_360_000, -1.0)
    body.done()
    if seconds < 0:
        raise _Bad(400, "missing_member", "'advanceSeconds' is missing")
    network.advance(seconds)
    return _ok({"now": iso_time(network.now())})


async def _clock(network: Network, request: web.Request) -> web.Response:
    return _ok({"now": iso_time(network.now())})


async def _reset(network: Network, request: web.Request) -> web.Response:
    network.reset()
    return web.Response(status=204)


async def _health(network: Network, request: web.Request) -> web.Response:
    counts = {"accounts": len(network.accounts), "transactions": len(network.transactions())}
    return _ok({"status": "ok", "seed": network.seed, "now": iso_time(network.now()), **counts})


def add_routes(app: web.Application, network: Network) -> None:
    """Add the control calls to the application."""
    table: list[tuple[str, str, Callable[[Network, web.Request], Awaitable[web.Response]]]] = [
        ("GET", "/transactions", _transactions),
        ("POST", "/pay/{reference:.+}", _pay),
        ("POST", "/refund/{reference:.+}", _refund),
        ("POST", "/refunds/{id}/fail", _fail_refund),
        ("POST", "/dispute/{reference:.+}", _dispute),
        ("GET", "/faults", _list_faults),
        ("POST", "/faults", _add_fault),
        ("DELETE", "/faults", _clear_faults),
        ("POST", "/accounts", _set_account),
        ("GET", "/webhooks", _list_hooks),
        ("POST", "/webhooks", _add_hook),
        ("GET", "/deliveries", _deliveries),
        ("GET", "/clock", _clock),
        ("POST", "/clock", _advance),
        ("POST", "/reset", _reset),
        ("GET", "/health", _health),
    ]
    for method, path, act in table:
        app.router.add_route(method, "/_network" + path, _guard(act, network))
