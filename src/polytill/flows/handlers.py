"""The handler of a provider, and what happens where it is missing.

One rule: ``handler_for`` answers None for a handler that is not installed or not allowed here, and its caller does
without. A request that cannot do without calls ``required_handler``: it fails with 503, and can be sent again once the
handler is back. Only a setting that names a handler is rejected with the reason (``handler_or_reason``).
"""

from __future__ import annotations

from polytill.domain.errors import NotNow, invalid
from polytill.domain.money import Money
from polytill.flows.context import Context
from polytill.providers.contract import Handler
from polytill.providers.registry import HandlerMissing
from polytill.storage.attempts import Attempt
from polytill.storage.catalog import ProviderEntry

HANDLER_RETRY_S = 60  # a missing or broken plug-in stays so until somebody repairs it


async def handler_for(context: Context, of: Attempt | str) -> type[Handler] | None:
    """The handler of an attempt's provider, or of a provider code. None if it is not in the catalog, not installed or
    not allowed. ``NotNow`` if the catalog has never been read and cannot be read now."""
    entry = (await context.catalog()).get(of if isinstance(of, str) else of.provider_code)
    return handler_or_reason(context, entry)[0] if entry else None


async def required_handler(context: Context, attempt: Attempt) -> type[Handler]:
    """The handler of an attempt's provider, for a request that needs it. ``NotNow`` if there is none."""
    handler = await handler_for(context, attempt)
    if handler is None:
        raise handler_is_missing(attempt.provider_code)
    return handler


def handler_or_reason(context: Context, entry: ProviderEntry) -> tuple[type[Handler] | None, str]:
    """The handler of a catalog entry, and why there is none as one sentence: exactly one of both."""
    try:
        return context.registry.get(entry.code, entry.integration_type, entry.handler_module), ""
    except HandlerMissing as error:
        return None, str(error)


def handler_is_missing(provider_code: str) -> NotNow:
    """The error of a request whose handler is not installed now, or was rejected."""
    refusal = NotNow(f"The handler of {provider_code} is not loaded here; try again later.", code="handler_missing")
    refusal.retry_after_s = HANDLER_RETRY_S
    return refusal


def amount_step(handler: type[Handler], currency: str) -> int:
    """The provider's amount step in minor units: it accepts only multiples of it."""
    terms = handler.catalog.currencies.get(currency)
    return terms.step_minor if terms else 1


async def check_amount(context: Context, attempt: Attempt, amount: int) -> None:
    """Raises ``Invalid`` if the attempt's provider does not accept this amount. Call it before anything is written."""
    handler = await handler_for(context, attempt)
    step = amount_step(handler, attempt.currency) if handler else 1
    if handler and amount % step:
        smallest = Money(step, attempt.currency)
        detail = f"{handler.name} takes whole multiples of {smallest} only."
        raise invalid("/amount", detail, reason="amount_of_steps", provider=handler.name, step=smallest)
