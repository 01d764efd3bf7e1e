"""The fixture of manual payments, which staff confirm: no provider answers."""

from __future__ import annotations

from polytill.domain.money import Money
from polytill.domain.states import Environment
from polytill.providers.contract import ProviderConfig
from polytill.providers.manual import ManualProvider
from polytill.testing.conformance.fixture import Example, ProviderFixture

_ACCOUNT = ProviderConfig(Environment.sandbox, "", config={"bank": "Example Bank", "accountNumber": "0123456789"})

MANUAL = ProviderFixture(
    handler=ManualProvider,
    accounts=(_ACCOUNT, _ACCOUNT),
    examples=(
        Example(Money(500_000, "NGN"), "", None),
        Example(Money(100, "NGN"), "", None),
        Example(Money(500, "JPY"), "", None),
        Example(Money(5_120, "KWD"), "", None),
    ),
    amount_field="",
    answers={},
    deliveries={},
    signature=None,
)
