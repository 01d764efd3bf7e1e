"""The service mounted under a path prefix of a host application: every address that it gives out has the prefix."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from starlette.applications import Starlette

from polytill import ConfigurationRequest, Customer, Money, PaymentRequest, Polytill, make_app
from polytill.flows.payments.payment_links import LinkWish, create_link, link_token

PREFIX = "/billing"
HTML = {"accept": "text/html"}
# What a browser follows, loads or sends to.
_addresses = re.compile(r'(?:href|src|action|data-next|data-return)="(/[^"]*)"').findall


@dataclass
class Mounted:
    """A host that has the service under the prefix, and one payment."""

    till: Polytill
    http: httpx.AsyncClient
    practice_id: int
    payment_page: str


@pytest.fixture
async def mounted(till: Polytill) -> AsyncIterator[Mounted]:
    practice_id = (await till.create_practice("Clinic", "NGN", actor="test")).practice.id
    await till.configure(practice_id, ConfigurationRequest("manual", currencies=("NGN",)), actor="test")
    request = PaymentRequest(Money(500_000, "NGN"), customer=Customer("ada@example.com"))
    made = await till.pay(practice_id, request, key="one", actor="test")
    host = Starlette()
    host.mount(PREFIX, make_app(till, sweeping=False))
    page = f"{PREFIX}/pay/{made.checkout_url.rpartition('/')[2]}"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(host), base_url="http://host.example") as http:
        yield Mounted(till, http, practice_id, page)


async def test_every_address_of_the_checkout_has_the_prefix(mounted: Mounted) -> None:
    wish = LinkWish(1000, "NGN", "Deposit")
    link = await create_link(mounted.till.context, mounted.practice_id, wish, "test")
    link_page = f"{PREFIX}/pay/link/{link_token(mounted.till.context, link)}"
    broken = f"{PREFIX}/pay/nobody"
    for path, status in ((mounted.payment_page, 200), (link_page, 200), (broken, 404)):
        answer = await mounted.http.get(path, headers=HTML)
        assert answer.status_code == status
        found = _addresses(answer.text)
        assert len(found) > 3, answer.text
        assert [one for one in found if not one.startswith(f"{PREFIX}/")] == []
        for asset in (one for one in found if "/static/" in one):
            assert (await mounted.http.get(asset)).status_code == 200
    begun = await mounted.http.post(link_page, data={"email": "ada@example.com", "key": "k" * 26})
    assert begun.status_code == 303
    assert begun.headers["location"].startswith(f"{PREFIX}/pay/")
    assert (await mounted.http.get(begun.headers["location"], headers=HTML)).status_code == 200
    back = await mounted.http.get(f"{mounted.payment_page}/return?n=0", headers=HTML)
    assert (back.status_code, back.headers["location"].partition("?")[0]) == (303, mounted.payment_page)


async def test_programs_get_documents_and_people_get_pages(mounted: Mounted) -> None:
    api = f"{PREFIX}/api/practices/{mounted.practice_id}/payments"
    for path, status in ((api, 401), (f"{PREFIX}/api/nothing", 404)):
        answer = await mounted.http.get(path, headers=HTML)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    hook = await mounted.http.post(f"{PREFIX}/hooks/nobody", headers=HTML, content=b"{}")
    assert (hook.status_code, hook.headers["content-type"]) == (404, "application/problem+json")
    assert (await mounted.http.head(mounted.payment_page)).status_code == 200
    assert (await mounted.http.head(api)).status_code == 405
    assert (await mounted.http.get(f"{PREFIX}/readyz")).status_code == 200
