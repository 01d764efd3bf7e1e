"""The features of a handler, derived from its methods only."""

from __future__ import annotations

from polytill.providers.contract import Handler

# Each feature and its method. ``supportedFeatures`` is computed from this.
FEATURES: tuple[tuple[str, str], ...] = (
    ("payments", "create_payment_intent"),
    ("webhooks", "process_webhook"),
    ("refunds", "refund_payment"),
    ("partial_refunds", "refund_payment"),
    ("manual_capture", "capture_payment"),
    ("cancel", "cancel_payment"),
    ("direct_charges", "continue_payment"),
    ("saved_methods", "charge_saved_method"),
    ("list_transactions", "list_transactions"),
    ("list_disputes", "list_disputes"),
    ("balance", "get_balance"),
)


def features_of(handler: type[Handler]) -> list[str]:
    """The features that this handler supports. A method that is inherited from ``Handler`` does not count."""
    return [feature for feature, verb in FEATURES if getattr(handler, verb, None) not in (None, getattr(Handler, verb))]
