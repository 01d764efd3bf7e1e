"""The checkout of one payment by its client token: the page, the return from the provider, payment input, retry,
receipt."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute

from polytill.domain.errors import CallerError, Conflict, Invalid, NotFound, NotNow, PolytillError, Stale
from polytill.domain.identifiers import IdentifierKind
from polytill.domain.secret import Secret
from polytill.domain.sources import Source
from polytill.domain.states import PaymentStatus, RefundState
from polytill.flows.context import Context, Practice
from polytill.flows.payments import customers
from polytill.flows.payments.create import CLIENT_TOKEN
from polytill.flows.payments.payment_links import way_back
from polytill.flows.payments.reading import PaymentDetails, current_attempt, details_of, find, with_identifiers
from polytill.flows.payments.retries import may_try_again
from polytill.flows.recovery import checkout as flow
from polytill.flows.recovery import payment_input
from polytill.providers.contract import Customer
from polytill.providers.customer_fields import CUSTOMER_FIELDS
from polytill.providers.manual import CASH, ManualProvider
from polytill.storage import ledger, overview, practice_profile, refunds
from polytill.storage.databases import PracticeDb
from polytill.storage.overview import Sums
from polytill.storage.payments import Payment
from polytill.web.checkout.customer_forms import Wrong, customer_errors, form_fields, usual_phone
from polytill.web.checkout.pages import OUR_SCRIPT, Brand, listed, read_fields, refused, show
from polytill.web.checkout.return_address import as_header, with_result
from polytill.web.checkout.states import CORRECTABLE, ROUNDS, WAITING, State, state_of, wait_of
from polytill.web.checkout.texts import Language, language_of, texts
from polytill.web.page_addresses import root_of
from polytill.web.problems import log_failure

BACK = ("unfinished", "unanswered", "paid")


class PayerRoute(APIRoute):
    """A route of a customer's page: errors are shown as pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See ``APIRoute``."""
        handle = super().get_route_handler()

        async def kindly(request: Request) -> Response:
            try:
                return await handle(request)
            except Stale:
                return refused(request, NotNow())
            except PolytillError as error:
                if not isinstance(error, CallerError | NotNow):
                    log_failure("page_failed", request, error)
                return refused(request, error)

        return kindly


router = APIRouter(tags=["checkout"], route_class=PayerRoute)


async def _found(request: Request, token: str) -> tuple[Practice, PaymentDetails]:
    context: Context = request.app.state.till.context
    address = context.ring.read_address(CLIENT_TOKEN, token)
    if address is None:
        raise NotFound("There is no such payment.")
    practice, payment = await find(context, address[0], address[1].decode("ascii", "replace"))
    return practice, await details_of(practice.db, payment)


async def brand_of(practice: Practice) -> Brand:
    """The practice's branding."""
    entry = await practice.context.opening.entry(practice.id)
    return Brand(entry.name, await practice_profile.checkout_color(practice.db), entry.zone)


# ── The page ──


@router.get("/pay/{clientToken}", response_class=HTMLResponse)
async def show_checkout(request: Request, clientToken: str) -> Response:
    """Show a payment to its customer.

    The amount and the ways to pay, or the payment's status.
    """
    return await _page(request, clientToken, *await _found(request, clientToken))


async def _page(
    request: Request,
    token: str,
    practice: Practice,
    found: PaymentDetails,
    given: dict[str, str] | None = None,
    wrong: Wrong | None = None,
) -> Response:
    """Render the page of a payment. ``wrong``: corrected customer fields that are not valid."""
    payment, step = found.payment, await flow.next_step(practice, found)
    retry = may_try_again(practice.context, payment, found.attempts)
    back = request.query_params.get("back")
    state = state_of(found, step, retry, back if back in BACK else None, practice.now())
    looked = _looked(request)
    wait = wait_of(state, looked)
    brand = await brand_of(practice)
    language = replace(language_of(request), zone=brand.zone)
    if state.name == "expired" or state.tone == "wait":
        step = None
    embedded = step is not None and step.kind == "client_token" and "script" in step.public
    policy = [*OUR_SCRIPT] if embedded or wait is not None else []
    if step is not None and embedded:
        policy += step.public["policy"].items()
    phone = usual_phone((await practice.context.configured(practice.db)).place, payment.currency)
    correcting = await _correcting(practice, payment, phone, wrong) if retry else {"asked": {}, "example": None}
    return show(
        request, "pay.html", brand, 422 if wrong else 200, policy=policy, **correcting, given=given or {},
        wrong=wrong or {}, link_token=await way_back(practice, found),
        payment=payment, step=step, embedded=embedded, state=state,
        title=language.say(state.name, "title"), text=_text(language, state, wait, payment, brand), retry=retry,
        fields=payment_input.FIELDS[step.wants] if step and step.wants else (),
        incomplete=request.query_params.get("incomplete", ""), wanted_phone=phone or "",
        token=token, wait=wait, waits=state.name in WAITING, looked=looked + 1, return_to=_return_url(payment),
        via=await _via(practice.context, found, step, language),
        how=_manual(language, payment, step),
    )  # fmt: skip


async def _correcting(practice: Practice, payment: Payment, phone: str | None, wrong: Wrong | None) -> dict[str, Any]:
    """The customer fields that may be corrected on a failed payment, if that can help, with an example phone number."""
    fields = await flow.fields_to_correct(practice, payment)
    customer = Customer(payment.customer_email, payment.customer_name, payment.customer_phone)
    known = customers.given(customer, payment.method_details)
    helps = wrong or payment.failure_reason in CORRECTABLE or fields.missing(known)
    asked = {name: name not in known and required for name, required in form_fields(fields).items()} if helps else {}
    return {"asked": asked, "example": fields.example_phone or phone}


def _manual(language: Language, payment: Payment, step: flow.Step | None) -> str | None:
    """How to pay in person or into the practice's account, in the customer's language: a handler has only one language."""
    if step is None or payment.provider_code != ManualProvider.code:
        return None
    account = step.public.get("accountNumber")
    told = {
        "amount": language.money(payment.amount, payment.currency),
        "number": payment.number,
        "account": account or "",
        "holder": ", ".join(name for name in (step.public.get("accountName"), step.public.get("bank")) if name),
    }
    kind = (
        "cash" if payment.payment_method == CASH or not account else "transfer" if told["holder"] else "transfer_plain"
    )
    own = step.public.get("instructions")
    return " ".join(part for part in (own, language.say("instructions", kind, **told)) if part)


def _looked(request: Request) -> int:
    given = request.query_params.get("n", "0")
    return min(int(given), len(ROUNDS)) if given.isascii() and given.isdigit() and len(given) <= 4 else 0


def _text(language: Language, state: State, wait: int | None, payment: Payment, brand: Brand) -> str:
    stopped = state.name in WAITING and wait is None
    refunded = language.money(payment.amount_refunded, payment.currency)
    return language.say(state.name, "stopped" if stopped else state.text, practice=brand.name, refunded=refunded)


async def _via(context: Context, found: PaymentDetails, step: flow.Step | None, language: Language) -> str | None:
    """The provider and the methods, only those that support this currency."""
    if step is None or step.url is None:
        return None
    entry = (await context.catalog()).get(found.payment.provider_code or "")
    if entry is None:
        return None
    known = [language.say("method", method) for method in step.methods if method in METHODS]
    if not known:
        return language.say("method", "intro_plain", provider=language.declared(entry.name))
    return language.say("method", "intro", provider=language.declared(entry.name), methods=listed(language, known))


# All methods that have a name; the other texts of that section are sentences.
_SENTENCES = {"intro", "intro_plain", "or", "script", "loading", "not_loaded", "sending", "until"}
METHODS = frozenset(texts("en")["method"]) - _SENTENCES


# ── Return and retry ──


@router.get("/pay/{clientToken}/return", status_code=303, response_class=RedirectResponse)
async def return_from_provider(request: Request, clientToken: str) -> Response:
    """Handle the return from the provider.

    The address can be forged, so the payment is looked up before the redirect. A page that refreshes itself sends ``n``
    and keeps the customer here.
    """
    practice, found = await _found(request, clientToken)
    found = await flow.customer_returned(practice.context, found)
    looking = "n" in request.query_params
    target = None if looking or _still_open(found) else _return_url(found.payment)
    return see_other(target or root_of(request) + _own_page(clientToken, found, _looked(request) if looking else None))


def _still_open(found: PaymentDetails) -> bool:
    """Whether the return has neither a result nor a lookup answer. The customer waits here: the host could not tell
    them to."""
    return found.unanswered and found.payment.status is PaymentStatus.requires_action


def _own_page(token: str, found: PaymentDetails, looked: int | None) -> str:
    query: dict[str, str] = {}
    if found.payment.status is PaymentStatus.requires_action:
        query["back"] = "unanswered" if found.unanswered else "unfinished"
    elif found.payment.status is PaymentStatus.succeeded:
        query["back"] = "paid"
    if looked:
        query["n"] = str(looked)
    return f"/pay/{token}" + (f"?{urlencode(query)}" if query else "")


def _return_url(payment: Payment) -> str | None:
    """The host's return address with the result of the payment; None if the host gave none."""
    if payment.return_url is None:
        return None
    result = {"paymentId": payment.id, "status": payment.status.value}
    if payment.reference is not None:
        result["reference"] = payment.reference
    return with_result(payment.return_url, result)


def see_other(target: str) -> Response:
    """Redirect with the address unchanged."""
    answer = RedirectResponse("", 303, {"Cache-Control": "no-store"})
    answer.headers["Location"] = as_header(target)  # the class itself would encode characters that the host has signed
    return answer


@router.post("/pay/{clientToken}/retry", status_code=303, response_class=RedirectResponse)
async def retry_payment(request: Request, clientToken: str) -> Response:
    """Retry a payment.

    Starts a new attempt unless an earlier one can still be paid; else shows the status.
    """
    practice, found = await _found(request, clientToken)
    typed = await read_fields(request)
    given = {name: typed.get(name, "") for name in CUSTOMER_FIELDS}
    try:
        await flow.correct(practice.context, practice.id, found.payment.id, Customer(**given))
    except Invalid as error:
        wrong = customer_errors(error)
        if wrong:
            return await _page(request, clientToken, practice, found, given, wrong)
        # No provider can take it at present, and no other data would help: the page stays unchanged.
    return see_other(f"{root_of(request)}/pay/{clientToken}")


@router.post("/pay/{clientToken}/continue", status_code=303, response_class=RedirectResponse)
async def send_payment_input(request: Request, clientToken: str) -> Response:
    """Send the customer's input from the checkout.

    The input is never stored. The page shows the result.
    """
    practice, found = await _found(request, clientToken)
    values = {name: Secret(text[:100]) for name, text in (await read_fields(request)).items() if text}
    try:
        await payment_input.continue_payment(practice.context, practice.id, found.payment.id, values, Source.customer)
    except Invalid as error:
        wrong = any(one.reason for one in error.errors)
        return see_other(f"{root_of(request)}/pay/{clientToken}?incomplete={'phone' if wrong else '1'}")
    except Conflict:  # the input was sent already, possibly by a concurrent request
        pass
    return see_other(f"{root_of(request)}/pay/{clientToken}")


# ── The receipt ──


@router.get("/pay/{clientToken}/receipt", response_class=HTMLResponse)
async def show_receipt(request: Request, clientToken: str) -> Response:
    """Show the receipt of a paid payment.

    What was paid, to whom and when, and what was refunded. Payments that are not paid have no receipt.
    """
    practice, found = await _found(request, clientToken)
    payment, paid_at = found.payment, await ledger.paid_at(practice.db, found.payment.id)
    if payment.status is not PaymentStatus.succeeded or paid_at is None:
        raise NoReceipt
    entry = (await practice.context.catalog()).get(payment.provider_code or "")
    returned = [r for r in await refunds.of_payment(practice.db, payment.id) if r.state in GIVEN_BACK]
    method = payment.payment_method
    language = language_of(request)
    books = (await overview.of_payments(practice.db, [payment.id]))[payment.id].get(payment.currency, Sums())
    of_duplicates = sum(r.amount for r in returned if r.returns_duplicate and r.state is RefundState.succeeded)
    lost = books.disputed + books.duplicates_returned - of_duplicates
    left = books.gross + books.duplicates_received - lost - sum(r.amount for r in returned)
    return show(
        request,
        "receipt.html",
        await brand_of(practice),
        payment=payment,
        token=clientToken,
        paid_at=paid_at,
        refunds=returned,
        books=books,
        lost=lost,
        left=left,
        provider=language.declared(entry.name) if entry else None,
        method=language.say("method", method) if method in METHODS else None,
        called=await _called(practice.db, found),
    )


async def _called(db: PracticeDb, found: PaymentDetails) -> list[tuple[str, str]]:
    """The name of the payment in the customer's SMS, statement or account, from the attempt that was paid."""
    paid = current_attempt(found.payment, found.attempts)
    kept = (await with_identifiers(db, found)).identifiers.get(paid.id, {})
    names = [(kind.value, value) for kind in ON_RECEIPT for value in kept.get(kind, ())]
    names.append(("ours", paid.id))  # the provider's own receipt may contain only our reference
    once = {value: kind for kind, value in reversed(names)}  # if two kinds have the same value, the first
    return [(kind, value) for value, kind in reversed(once.items())]


class NoReceipt(NotFound):
    """There is no receipt because this payment is not paid."""

    sentence = "no_receipt"


# What the customer's bank, SMS, account or receipt may show. Sessions and balance entries are internal to the practice.
ON_RECEIPT = tuple(k for k in IdentifierKind if k not in (IdentifierKind.session, IdentifierKind.balance_transaction))
# Money that is refunded or whose refund is pending.
GIVEN_BACK = frozenset({RefundState.succeeded, RefundState.pending, RefundState.sent, RefundState.unknown})
