"""The customer returns to the host's address byte for byte, with our three parameters once and with our values.

Source: https://github.com/juspay/hyperswitch-web/issues/1598 and https://github.com/calcom/cal.diy/pull/19155.
"""

from __future__ import annotations

from urllib.parse import parse_qs, quote, unquote_plus, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytill.web.checkout.return_address import as_header, with_result
from tests.installation import Installation
from tests.web.support import Practice

OURS = {"paymentId": "01m8", "status": "succeeded", "reference": "R+7 &=#é"}
TAIL = "paymentId=01m8&status=succeeded&reference=R%2B7%20%26%3D%23%C3%A9"
H = "https://shop.example"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (f"{H}/done?status=pending&reference=MINE", f"{H}/done?{TAIL}"),
        (f"{H}/done?a=1&paymentId=host-7&b=2", f"{H}/done?a=1&b=2&{TAIL}"),
        (f"{H}/done?name=caf%E9&flag", f"{H}/done?name=caf%E9&flag&{TAIL}"),
        (f"{H}/done?sig=a%2Bb%20c+d%2fe", f"{H}/done?sig=a%2Bb%20c+d%2fe&{TAIL}"),
        (f"{H}/done?st%61tus=pending&%73tatus&status", f"{H}/done?{TAIL}"),
        (f"{H}/done?STATUS=x&status[]=y&xstatus=z", f"{H}/done?STATUS=x&status[]=y&xstatus=z&{TAIL}"),
        (f"{H}/done?a;b=1;c", f"{H}/done?a;b=1;c&{TAIL}"),
        (f"{H}/done?u=https://x/?status=2", f"{H}/done?u=https://x/?status=2&{TAIL}"),
        (f"{H}/done?", f"{H}/done?{TAIL}"),
        (f"{H}/done?a=1&", f"{H}/done?a=1&{TAIL}"),
        (f"{H}/done?a==&&b", f"{H}/done?a==&&b&{TAIL}"),
        (H, f"{H}?{TAIL}"),
        (f"{H}/#/orders/7?status=open", f"{H}/?{TAIL}#/orders/7?status=open"),
        (f"{H}/a%2fB/../c;v=1?x#", f"{H}/a%2fB/../c;v=1?x&{TAIL}#"),
        ("http://[2001:db8::1]:8080/d?x=%zz", f"http://[2001:db8::1]:8080/d?x=%zz&{TAIL}"),
        ("HTTPS://Shop.Example:443/d", f"HTTPS://Shop.Example:443/d?{TAIL}"),
    ],
)
def test_the_three_names_once_and_everything_else_as_it_was(address: str, expected: str) -> None:
    assert with_result(address, OURS) == expected
    assert as_header(expected) == expected


_PARTS = st.lists(
    st.text(st.sampled_from("abstu%2B+=;E9é[]?/:@!$'()*,~|\"<>{}^`"))
    | st.sampled_from(["status=1", "paymentId", "reference=a%20b", "statu%73=2", "ok=1", ""]),
    max_size=6,
)


@given(
    _PARTS,
    st.sampled_from(["", "#", "#/x?status=1", "#a=b&status"]),
    st.dictionaries(st.sampled_from(["paymentId", "status", "reference"]), st.text(max_size=20), min_size=1),
)
def test_any_query(parts: list[str], fragment: str, result: dict[str, str]) -> None:
    address = f"{H}/p?{'&'.join(parts)}{fragment}"
    made = urlsplit(with_result(address, result))
    assert made._replace(query="", fragment="").geturl() == f"{H}/p"
    assert made.fragment == fragment[1:]
    read = parse_qs(made.query, keep_blank_values=True, separator="&")
    assert {name: read[name] for name in result} == {name: [value] for name, value in result.items()}
    others = [part for part in "&".join(parts).split("&") if unquote_plus(part.split("=")[0]) not in result]
    kept = made.query.split("&")[: -len(result)]
    assert "&".join(kept).rstrip("&") == "&".join(others).rstrip("&")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://münchen.example:8443/é?q=ü", "https://xn--mnchen-3ya.example:8443/%C3%A9?q=%C3%BC"),
        ("https://straße.example/", f"https://{quote('straße')}.example/"),
        (f'{H}/a|b?c="<>{{}}^`%E9', f'{H}/a|b?c="<>{{}}^`%E9'),
    ],
)
def test_what_a_header_cannot_carry_is_encoded_as_a_browser_does(address: str, expected: str) -> None:
    assert as_header(address) == expected


async def test_a_paid_customer_arrives_there(installation: Installation) -> None:
    practice = await Practice.make(installation, "paystack")
    given = f"{H}/done?status=pending&sig=a%2Bb%20c&n=caf%E9&flag&reference=MINE&x=a|b#/orders/7"
    made = (await practice.create(returnUrl=given, reference="R+7")).body
    await practice.act(made["attempts"][0]["reference"])
    back = await installation.call("GET", f"/pay/{made['clientToken']}/return?status=failed&reference=forged")
    ours = f"paymentId={made['id']}&status=succeeded&reference=R%2B7"
    assert back.headers["Location"] == f"{H}/done?sig=a%2Bb%20c&n=caf%E9&flag&x=a|b&{ours}#/orders/7"
    page = await installation.call("GET", f"/pay/{made['clientToken']}")
    assert back.headers["Location"].replace("&", "&amp;") in page.body


async def test_a_reference_of_the_hosts_stays_where_the_payment_has_none(installation: Installation) -> None:
    practice = await Practice.make(installation, "paystack")
    made = (await practice.create(returnUrl=f"{H}/?reference=MINE")).body
    back = await installation.call("GET", f"/pay/{made['clientToken']}/return")
    assert back.headers["Location"] == f"{H}/?reference=MINE&paymentId={made['id']}&status=requires_action"
