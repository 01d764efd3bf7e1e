"""The list of checks. Each is a function that asserts, with a name, a sentence and the providers that it applies to."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from polytill.providers.contract import Idempotency, WebhookProof
from polytill.testing.conformance.fixture import NEWLY, ProviderFixture
from polytill.testing.conformance.wire import Stand

Body = Callable[[Stand], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Check:
    """One check. It applies to providers whose handler has ``verb`` and for which ``only`` is true."""

    name: str
    area: str
    sentence: str
    body: Body
    verb: str | None = None
    only: Callable[[ProviderFixture], bool] | None = None
    needs_network: bool = False

    def applies_to(self, fixture: ProviderFixture) -> bool:
        """Whether the check applies to this provider."""
        if self.needs_network and not is_networked(fixture):
            return False
        has_verb = self.verb is None or getattr(fixture.handler, self.verb, None) is not None
        return has_verb and (self.only is None or self.only(fixture))


CHECKS: list[Check] = []


def check(
    area: str,
    verb: str | None = None,
    only: Callable[[ProviderFixture], bool] | None = None,
    needs_network: bool = True,
) -> Callable[[Body], Body]:
    """Add a function to the list. Its name is the check's name, the first paragraph of its docstring the sentence."""

    def register(body: Body) -> Body:
        sentence = re.split(r"\n\s*\n", body.__doc__ or "")[0].strip()
        CHECKS.append(Check(body.__name__, area, sentence, body, verb, only, needs_network))
        return body

    return register


def is_networked(fixture: ProviderFixture) -> bool:
    """The provider has an API."""
    return bool(fixture.handler.hosts)


def is_confirmed_by_staff(fixture: ProviderFixture) -> bool:
    """Staff confirm the payments."""
    return fixture.handler.confirmed_by_staff


def signs(fixture: ProviderFixture) -> bool:
    """Webhooks carry a signature over their body."""
    return fixture.handler.webhook_proof is WebhookProof.signature


def proves_something(fixture: ProviderFixture) -> bool:
    """Webhooks carry a signature or a shared secret."""
    return fixture.handler.webhook_proof is not WebhookProof.address


def proves_nothing_of_its_body(fixture: ProviderFixture) -> bool:
    """No signature covers the body of a webhook."""
    return not signs(fixture)


def has_keys_of_its_own(fixture: ProviderFixture) -> bool:
    """The provider replays by idempotency key."""
    return fixture.handler.idempotency is Idempotency.key


def signs_the_time(fixture: ProviderFixture) -> bool:
    """Signatures expire."""
    return signs(fixture) and fixture.signature is not None and fixture.signature.tolerance_s is not None


def has_new_decline(fixture: ProviderFixture) -> bool:
    """There is a sample of a decline with an unknown code."""
    return NEWLY in fixture.answers


def declares_identifiers(fixture: ProviderFixture) -> bool:
    """The handler declares where its provider's answers contain identifiers."""
    return bool(fixture.handler.identifiers)


def names_amounts(fixture: ProviderFixture) -> bool:
    """The provider's answers name the amount."""
    return fixture.handler.answers_name_amount


def has_too_fine_amounts(fixture: ProviderFixture) -> bool:
    """Some amounts have more decimals than the provider accepts."""
    return fixture.too_fine is not None
