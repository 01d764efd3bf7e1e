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
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

from aiohttp import web

from polytill.simulator.books import Account, DisputeStory, Json, Transaction, iso_time
from polytill.simulator.deliveries import Hook, is_loopback
from polytill.simulator.faults import CALL_FAULTS, DEFAULT_DELAYS, OPERATIONS, WEBHOOK_FAULTS, Fault, to_response
from polytill.simulator.network import Network
from polytill.simulator.wire import Rejected, json_answer, problem

OUTCOMES = ("success", "decline", "abandon")
STANDINGS = ("active", "inactive", "unknown", "other_environment")
DENIABLE = frozenset({"payments", "refunds", "account"})
Act = Callable[[Network, "_Call"], object]


class _Bad(Exception):
    """A control call that cannot be carried out."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


def _invalid(detail: str) -> _Bad:
    return _Bad(400, "invalid_member", detail)


def _missing(name: str) -> _Bad:
    return _Bad(400, "missing_member", f"'{name}' is missing")


class _Call:
    """One call. The members of its body, a JSON object, are read one by one; those that were not read are rejected."""

    def __init__(self, request: web.Request, raw: bytes) -> None:
        self.path, self.query = request.match_info, request.query
        self.raw = raw
        self._read: set[str] = set()

    @cached_property
    def _document(self) -> Json:
        try:
            document = json.loads(self.raw)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise _Bad(400, "unreadable_body", "the body must be a JSON object")
        return document

    def _get(self, name: str) -> Any:
        """A member. None, too, if it is null."""
        self._read.add(name)
        return self._document.get(name)

    def maybe(self, name: str) -> str | None:
        """A string, or None when absent."""
        value = self._get(name)
        if value is not None and not isinstance(value, str):
            raise _invalid(f"'{name}' must be a non-empty string")
        return value

    def text(self, name: str) -> str:
        """A string that must be there."""
        value = self.maybe(name)
        if value is None:
            raise _missing(name)
        if not value:
            raise _invalid(f"'{name}' must be a non-empty string")
        return value

    def choice(self, name: str, words: tuple[str, ...], default: str | None = None) -> str:
        """One of a closed list."""
        value = default if default and self._get(name) is None else self.text(name)
        if value not in words:
            raise _invalid(f"'{name}' must be one of {', '.join(words)}")
        return value

    def number(self, name: str, low: float, high: float, default: float) -> float:
        """A finite number within bounds."""
        value = self._get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise _invalid(f"'{name}' must be a number")
        if not low <= value <= high:
            raise _invalid(f"'{name}' must be between {low:g} and {high:g}")
        return float(value)

    def integer(self, name: str, low: int, high: int) -> int | None:
        """A whole number within bounds, or None when absent."""
        value = self._get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _invalid(f"'{name}' must be a whole number between {low} and {high}")
        return value

    def flag(self, name: str) -> bool | None:
        """A boolean, or None when absent."""
        value = self._get(name)
        if not isinstance(value, bool | None):
            raise _invalid(f"'{name}' must be true or false")
        return value

    def document(self, name: str) -> Json | None:
        """A JSON object, or None when absent."""
        value = self._get(name)
        if not isinstance(value, dict | None):
            raise _invalid(f"'{name}' must be a JSON object")
        return value

    def done(self) -> None:
        """Reject members that were not read, so that a typo cannot pass unnoticed."""
        unknown = sorted(set(self._document) - self._read)
        if unknown:
            raise _Bad(400, "unknown_member", f"unknown: {', '.join(unknown)}")


async def _answer(network: Network, act: Act, request: web.Request) -> web.StreamResponse:
    try:
        document = act(network, _Call(request, await request.read()))
    except _Bad as bad:
        return to_response(problem(bad.status, bad.code, bad.detail))
    if document is None:
        return web.Response(status=204)
    return to_response(json_answer(document, 201 if act in (_add_fault, _add_hook) else 200))


def _provider(network: Network, call: _Call, *extra: str) -> str:
    return call.choice("provider", (*network.providers, *extra))


# The books


def _transactions(network: Network, call: _Call) -> object:
    names = ("provider", "account", "reference", "status")
    rows = [tx.as_control() for tx in network.transactions()]
    return [row for row in rows if all(call.query.get(name, row[name]) == row[name] for name in names)]


def _find(network: Network, call: _Call) -> tuple[Account, Transaction]:
    reference = call.path["reference"]
    found = network.by_reference(reference, call.maybe("provider"), call.maybe("account"))
    if found is None:
        raise _Bad(404, "unknown_reference", f"no transaction has the reference '{reference}'")
    return network.account(found.provider, found.account), found


def _pay(network: Network, call: _Call) -> object:
    outcome = call.choice("outcome", OUTCOMES)
    code, message = call.maybe("code"), call.maybe("message")
    account, tx = _find(network, call)
    call.done()
    if not tx.payable:
        raise _Bad(409, "not_payable", f"the transaction is {tx.status}: the payer can do nothing any more")
    if (code or message) and (outcome != "decline" or not code):
        raise _invalid("'code' and 'message' belong to the outcome 'decline', and 'code' must be there")
    tx.said = (code, message or "") if code else None
    return network.providers[tx.provider].pay(account, tx, outcome).as_control()


def _refund(network: Network, call: _Call) -> object:
    call.raw = call.raw.strip() or b"{}"  # the body may be left out
    amount = call.integer("amount", 1, 10**15)
    account, tx = _find(network, call)
    call.done()
    if not 0 < (amount or tx.refundable) <= tx.refundable:
        raise _Bad(409, "not_refundable", f"{tx.refundable} of {tx.captured} can be refunded")
    try:
        network.providers[tx.provider].refund_in_dashboard(account, tx, amount or tx.refundable)
    except Rejected as rejection:
        raise _Bad(409, "not_refundable", str(rejection)) from None
    return tx.as_control()


def _fail_refund(network: Network, call: _Call) -> object:
    wanted = call.path["id"]
    for tx in network.transactions():
        for refund in tx.refunds:
            if refund.id == wanted:
                if refund.status == "failed":
                    raise _Bad(409, "already_failed", "the refund has failed before")
                account = network.account(tx.provider, tx.account)
                network.providers[tx.provider].fail_refund(account, tx, refund)
                return tx.as_control()
    raise _Bad(404, "unknown_refund", f"no refund has the id '{wanted}'")


def _dispute(network: Network, call: _Call) -> object:
    outcome = call.choice("outcome", ("open", "won", "lost", "closed"))
    story = DisputeStory(
        call.choice("kind", ("chargeback", "inquiry"), "chargeback"),
        call.integer("amount", 1, 10**15),
        call.maybe("reason"),
        call.flag("bare") or False,
        call.flag("withRefund") or False,
        call.flag("withReversal") or False,
        call.flag("showsMoney") or False,
        call.flag("again") or False,
    )
    account, tx = _find(network, call)
    call.done()
    if not tx.captured:
        raise _Bad(409, "not_disputable", f"the transaction is {tx.status}: there is nothing to dispute")
    known = tx.dispute_for(story)
    if outcome == "open" and known is not None and (known.kind, story.kind) != ("inquiry", "chargeback"):
        raise _Bad(409, "already_disputed", "a dispute is open")
    if (story.amount or 0) > tx.captured:
        raise _Bad(409, "not_disputable", f"no more than {tx.captured} can be disputed")
    network.providers[tx.provider].dispute(account, tx, outcome, story)
    return tx.as_control()


# Faults


def _add_fault(network: Network, call: _Call) -> object:
    provider = _provider(network, call, "*")
    kind = call.choice("fault", (*CALL_FAULTS, *WEBHOOK_FAULTS))
    operation = call.choice("operation", OPERATIONS)
    if operation != "*" and (operation == "webhook") != (kind in WEBHOOK_FAULTS):
        raise _invalid(f"'{kind}' cannot happen to the operation '{operation}'")
    status, scripted = call.integer("status", 200, 599), call.document("body")
    if status not in (None, 200, 502) and kind != "answer":
        raise _invalid("'status' must be 200 or 502")
    if (scripted is None) is (kind == "answer"):
        raise _invalid("'body' is what the fault 'answer' says, and belongs to it alone")
    stored = call.flag("stored")
    rule = Fault(
        id="",
        provider=provider,
        operation=operation,
        kind=kind,
        probability=call.number("probability", 0, 1, 1.0),
        count=call.integer("count", 1, 10**9),
        delay=call.number("delaySeconds", 0, 31_536_000, DEFAULT_DELAYS.get(kind, 0.0)),
        account=call.maybe("account"),
        acts=call.flag("acts"),
        status=status,
        stored=True if stored is None else stored,
        body=scripted,
    )
    call.done()
    rule.id = network.faults.next_id()
    network.faults.rules.append(rule)
    return rule.as_control()


def _list_faults(network: Network, call: _Call) -> object:
    return [rule.as_control() for rule in network.faults.rules]


def _clear_faults(network: Network, call: _Call) -> None:
    network.faults.rules.clear()


# Accounts


def _set_account(network: Network, call: _Call) -> object:
    name = _provider(network, call)
    key = call.text("account")
    standing = call.choice("standing", STANDINGS, "active")
    denied = frozenset(word for word in (call.maybe("denied") or "").split(",") if word)
    public_key = call.maybe("publicKey")
    call.done()
    if not network.providers[name].well_formed(key):
        raise _invalid(f"'account' must be a well-formed secret key of {name}")
    if denied - DENIABLE:
        raise _invalid(f"'denied' may hold {', '.join(sorted(DENIABLE))}")
    account = network.account(name, key)
    account.standing, account.denied, account.public_key = standing, denied, public_key
    shown: Json = {"provider": name, "account": key, "standing": standing, "denied": sorted(denied)}
    return {**shown, "publicKey": public_key}


# Webhooks, clock, health


def _add_hook(network: Network, call: _Call) -> object:
    name = _provider(network, call)
    account, url = call.text("account"), call.text("url")
    secret = call.maybe("secret") or ""
    refund_events = bool(call.flag("refundEvents"))
    call.done()
    if not network.providers[name].well_formed(account):
        raise _invalid(f"'account' must be a well-formed secret key of {name}")
    if not is_loopback(url):
        raise _Bad(400, "not_loopback", "'url' must be an http address of this machine: nothing is delivered elsewhere")
    if not secret and name not in ("paystack", "mpesa"):
        raise _missing("secret")
    network.account(name, account)
    hook = Hook(name, account, url, secret, refund_events=refund_events)
    network.deliverer.register(hook)
    return _hook(hook)


def _hook(hook: Hook) -> Json:
    """A registration without its secret."""
    shown = {"provider": hook.provider, "account": hook.account, "url": hook.url}
    return {**shown, "secretSet": bool(hook.secret), "refundEvents": hook.refund_events}


def _list_hooks(network: Network, call: _Call) -> object:
    return [_hook(hook) for hook in network.deliverer.hooks]


def _deliveries(network: Network, call: _Call) -> object:
    return [delivery.as_control() for delivery in network.deliverer.log]


def _advance(network: Network, call: _Call) -> object:
    seconds = call.number("advanceSeconds", 0, 315_360_000, -1.0)
    call.done()
    if seconds < 0:
        raise _missing("advanceSeconds")
    network.advance(seconds)
    return {"now": iso_time(network.now())}


def _clock(network: Network, call: _Call) -> object:
    return {"now": iso_time(network.now())}


def _reset(network: Network, call: _Call) -> None:
    network.reset()


def _health(network: Network, call: _Call) -> object:
    counts = {"accounts": len(network.accounts), "transactions": len(network.transactions()), "calls": network.calls}
    return {"status": "ok", "seed": network.seed, "now": iso_time(network.now()), **counts}


def add_routes(app: web.Application, network: Network) -> None:
    """Add the control calls to the application."""
    table: dict[str, Act] = {
        "GET /transactions": _transactions,
        "POST /pay/{reference:.+}": _pay,
        "POST /refund/{reference:.+}": _refund,
        "POST /refunds/{id}/fail": _fail_refund,
        "POST /dispute/{reference:.+}": _dispute,
        "GET /faults": _list_faults,
        "POST /faults": _add_fault,
        "DELETE /faults": _clear_faults,
        "POST /accounts": _set_account,
        "GET /webhooks": _list_hooks,
        "POST /webhooks": _add_hook,
        "GET /deliveries": _deliveries,
        "GET /clock": _clock,
        "POST /clock": _advance,
        "POST /reset": _reset,
        "GET /health": _health,
    }
    for address, act in table.items():
        method, path = address.split()
        app.router.add_route(method, "/_network" + path, partial(_answer, network, act))
