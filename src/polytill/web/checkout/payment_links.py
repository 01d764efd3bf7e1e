"""The pages of a payment link: its amount, the start of a payment, its QR code, and a poster to print."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import segno
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from markupsafe import Markup

from polytill.domain.errors import Conflict, Gone, Invalid, NotFound
from polytill.domain.ids import new_id
from polytill.flows.context import Context, Practice
from polytill.flows.payments import customers
from polytill.flows.payments import payment_links as link_flow
from polytill.flows.payments.create import client_token
from polytill.flows.routing.eligibility import Way
from polytill.providers.customer_fields import NOTHING
from polytill.storage.payment_links import PaymentLink
from polytill.web.checkout.customer_forms import customer_errors, form_fields, read_form, usual_phone
from polytill.web.checkout.pages import read_fields, show
from polytill.web.checkout.payment import PayerRoute, brand_of, see_other
from polytill.web.page_addresses import root_of

router = APIRouter(tags=["checkout"], route_class=PayerRoute, prefix="/pay/link/{linkToken}")


class NoLink(NotFound):
    """There is no such payment link."""

    sentence = "no_link"


async def _behind(request: Request, token: str) -> tuple[Practice, PaymentLink]:
    context: Context = request.app.state.till.context
    try:
        return await link_flow.link_behind(context, token)
    except (NotFound, Gone):
        raise NoLink from None


@router.get("", response_class=HTMLResponse)
async def show_payment_link(request: Request, linkToken: str) -> Response:
    """Show a payment link.

    The amount and the customer form. A single-use link that has a payment shows that payment.
    """
    practice, link = await _behind(request, linkToken)
    begun = await link_flow.only_payment(practice, link)
    if begun is not None:
        return see_other(f"{root_of(request)}/pay/{client_token(practice.context, begun)}")
    typed = _Typed({"by": request.query_params.get("by", "")}, new_id(practice.context.world))
    return await _form(request, practice, link, linkToken, typed)


@dataclass(frozen=True, slots=True)
class _Typed:
    """What a customer sent with the form. ``payer_key`` makes a repeated submission return the same payment. ``wrong``:
    invalid fields, each with an example."""

    given: dict[str, str]
    payer_key: str
    wrong: Mapping[str, str | None] = field(default_factory=dict)


async def _form(
    request: Request, practice: Practice, link: PaymentLink, token: str, typed: _Typed, unavailable: bool = False
) -> Response:
    """Render the form with the fields that the chosen provider needs."""
    given, wrong = typed.given, typed.wrong
    status, ways = link.status(practice.now()), await link_flow.ways(practice, link)
    if status == "open" and (unavailable or not ways):
        status = "unavailable"
    way = _chosen(ways, given)
    asked, example = form_fields(way.fields if way else NOTHING), None
    if way is not None and "phone" in asked:
        snapshot = await practice.context.configured(practice.db)
        example = way.fields.example_phone or usual_phone(snapshot.place, link.currency)
    return show(
        request,
        "pay_link.html",
        await brand_of(practice),
        422 if wrong else 200,
        link=link,
        token=token,
        status=status,
        given=given,
        wrong=wrong,
        payer_key=typed.payer_key,
        asked=asked,
        example=example,
        others=[other for other in ways if way is not None and other.code != way.code],
    )


def _chosen(ways: list[Way], given: dict[str, str]) -> Way | None:
    """The provider that the customer chose, else the best one."""
    chosen = [way for way in ways if way.code == given.get("by")]
    return next(iter(chosen or ways), None)


@router.post("", status_code=303, response_class=RedirectResponse)
async def start_link_payment(request: Request, linkToken: str) -> Response:
    """Start a payment through a link.

    The form's key makes a repeated submission return the same payment.
    """
    practice, link = await _behind(request, linkToken)
    fields = await read_fields(request)
    given = {name: fields.get(name, "") for name in ("email", "name", "phone", "key", "by")}
    is_key = given["key"].isascii() and given["key"].isalnum()
    payer_key = given["key"] if is_key else new_id(practice.context.world)
    way = _chosen(await link_flow.ways(practice, link), given)
    snapshot = await practice.context.configured(practice.db)
    countries = customers.countries_of(snapshot.place, link.currency)
    customer, wrong = read_form(given, way.fields if way else NOTHING, countries)
    if wrong and way is not None and link.status(practice.context.world.now()) == "open":
        return await _form(request, practice, link, linkToken, _Typed(given, payer_key, wrong))
    chosen = way.code if way is not None and given["by"] == way.code else None
    try:
        found = await link_flow.begin(practice.context, link.practice_id, link.id, customer, payer_key, chosen)
    except Conflict:  # it has closed or expired, possibly since the form was shown
        practice, link = await link_flow.find_link(practice.context, link.practice_id, link.id)
        return await _form(request, practice, link, linkToken, _Typed(given, payer_key))
    except Invalid as error:  # since the form was shown, the available providers have changed
        typed = _Typed(given, payer_key, customer_errors(error))
        return await _form(request, practice, link, linkToken, typed, unavailable=not typed.wrong)
    return see_other(f"{root_of(request)}/pay/{client_token(practice.context, found.payment)}")


# ── The QR code ──


def qr_svg(address: str, *, whole_file: bool) -> str:
    """A QR code of an address, readable with up to a quarter of it damaged."""
    out = io.BytesIO()
    segno.make(address, error="q", micro=False).save(
        out,
        kind="svg",
        border=4 if whole_file else 0,
        xmldecl=whole_file,
        svgns=whole_file,
        omitsize=True,
        svgclass=None,
        lineclass=None,
        dark="#000",
    )
    return out.getvalue().decode()


@router.get("/qr.svg", response_class=Response, responses={200: {"content": {"image/svg+xml": {}}}})
async def get_link_qr_code(request: Request, linkToken: str) -> Response:
    """Get a link's QR code as SVG."""
    practice, link = await _behind(request, linkToken)
    headers = {"Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'"}
    return Response(
        qr_svg(link_flow.link_address(practice.context, link), whole_file=True), 200, headers, "image/svg+xml"
    )


@router.get("/poster", response_class=HTMLResponse)
async def show_link_poster(request: Request, linkToken: str) -> Response:
    """Show a link's QR poster.

    The QR code with the practice's name and the amount, to print or display.
    """
    practice, link = await _behind(request, linkToken)
    url = link_flow.link_address(practice.context, link)
    return show(
        request,
        "link_poster.html",
        await brand_of(practice),
        link=link,
        url=url,
        qr=Markup(qr_svg(url, whole_file=False)),  # noqa: S704
        status=link.status(practice.context.world.now()),
    )
