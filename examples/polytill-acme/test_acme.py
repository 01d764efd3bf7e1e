"""The data for polytill's conformance suite: put the provider's own sample answers here."""

from typing import Any

from polytill_acme import AcmeProvider

from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.contract import ProviderConfig
from polytill.testing.conformance import Conformance, Delivery, Example, ProviderFixture, Sample, Signature


def account(letter: str) -> ProviderConfig:
    key, hook = Secret(f"acme_test_{letter * 24}"), Secret(f"hook_{letter * 24}")
    url = "https://api.acme.example"
    return ProviderConfig(Environment.sandbox, url, secret_key=key, webhook_secrets=(hook,))


def payment(status: str, **more: Any) -> dict[str, Any]:
    money = {"amount": "<amount>", "currency": "<Currency>"}
    return {"id": "<transaction>", "reference": "<reference>", "status": status, **money, **more}


REFUND = {
    "id": "<refund id>",
    "reference": "<refund>",
    "status": "done",
    "amount": "<amount>",
    "currency": "<Currency>",
}
NOT_FOUND = Sample({"error": {"code": "not_found"}}, 404)
PAID = payment("paid")


class TestAcme(Conformance):
    """All checks that apply, each as a test."""

    fixture = ProviderFixture(
        handler=AcmeProvider,
        accounts=(account("a"), account("b")),
        examples=(
            Example(Money(12_345, "USD"), "12345", 12_345),
            Example(Money(99, "USD"), "99", 99),
            Example(Money(500, "JPY"), "500", 500),
        ),
        amount_field="amount",
        answers={
            "created": (Sample(payment("open", pay_url="https://pay.acme.example/p/1"), 201),),
            "paid": (Sample(PAID),),
            "declined": (Sample(payment("declined", decline="Insufficient funds")),),
            "declined_newly": (Sample(payment("declined", decline="Levitation is not allowed")),),
            "pending": (Sample(payment("processing")),),
            "strange": (Sample(payment("levitating")),),
            "missing": (NOT_FOUND,),
            "keys_good": (Sample({"mode": "test"}),),
            "keys_bad": (Sample({"error": {"code": "bad_key", "message": "No such key"}}, 401),),
            "refunded": (Sample(REFUND, 201),),
            "refund_missing": (NOT_FOUND,),
        },
        deliveries={
            "paid": Delivery({"id": "evt-<transaction>", "type": "payment.paid", "data": PAID}),
            "later": Delivery({"id": "evt-later", "type": "payment.processing", "data": payment("processing")}),
            "unrelated": Delivery({"id": "evt-3", "type": "payout.paid", "data": {"id": "po-1"}}),
        },
        signature=Signature("acme-signature"),
    )
