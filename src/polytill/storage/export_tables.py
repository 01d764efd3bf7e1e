"""What an export of a practice has: its files with their columns, and what is left out, with the reason.

A test compares this with the schema, so that a new column is exported, or named here with a reason. Another one compares
it with ``docs/export.md``. Nothing sealed, no hash of a password or key, and no token is ever exported.
"""

from __future__ import annotations

from polytill.storage.export_columns import Part, part
from polytill.storage.export_money import MONEY

FORMAT, FORMAT_VERSION = "polytill-export", 1

_ACTIVE = "SELECT~1~FROM~routing_active~a~WHERE~a.environment=t.environment~AND~a.version=t.version"
_IS_ACTIVE = f"EXISTS({_ACTIVE})"

PARTS: tuple[Part, ...] = (
    *MONEY,
    part(
        "saved_methods",
        "t.id",
        "Cards and other methods that customers allowed to be charged again, without their tokens.",
        """
        id text The method's id.
        environment text `sandbox` or `production`.
        payment_id text The payment that saved it.
        config_id integer The provider configuration.
        provider_code text The provider.
        provider_customer_id text The customer's id at the provider.
        customer_email text The customer's e-mail address.
        kind text For example `card`.
        brand text The card's brand.
        last4 text The last digits of the card.
        expires text `YYYY-MM`.
        created_at moment When it was saved.
        removed_at moment When it was removed.
        """,
    ),
    part(
        "payment_links",
        "t.id",
        "Payment links.",
        """
        id text The link's id.
        environment text `sandbox` or `production`.
        state text `open` or `closed`.
        currency text ISO 4217.
        amount integer In minor units of `currency`.
        description text As it was given.
        reference text The host application's own reference.
        single_use flag Whether it takes one payment only.
        created_by text Who created it.
        expires_at moment When it expires.
        created_at moment When it was created.
        updated_at moment When it was last changed.
        """,
    ),
    part(
        "payment_link_payments",
        "t.payment_id",
        "The payments that were started through a link.",
        """
        payment_id text The payment.
        link_id text The link.
        created_at moment When it was started.
        """,
    ),
    part(
        "webhook_events",
        "t.id",
        "Webhooks from providers.",
        """
        id text The webhook's id.
        environment text `sandbox` or `production`.
        config_id integer The provider configuration.
        provider_code text The provider.
        event_type text The provider's own type.
        dedupe_key text What tells it from other webhooks.
        state text For example `applied`.
        reason text Why it is in this state.
        payment_id text The payment that it is about.
        body json What was received, without its secret fields.
        must_fetch flag Whether it has no signature and only triggered a lookup.
        tries integer How often it was applied again.
        dismissed_note text Why staff dismissed it.
        received_at moment When it was received.
        applied_at moment When it was applied.
        """,
    ),
    part(
        "events",
        "t.id",
        "Events for the host application.",
        """
        id integer Its number in this practice.
        event_id text The event's id.
        environment text `sandbox` or `production`.
        type text See [events](events.md).
        payment_id text The payment that it is about.
        data json Its content.
        created_at moment When it happened.
        forwarded_at moment When it was forwarded to the platform's feed.
        """,
    ),
    part(
        "review_cases",
        "t.id",
        "What staff had to decide.",
        """
        id text The case's id.
        environment text `sandbox` or `production`.
        kind text See [review cases](running.md#review-cases).
        subject text What it is about.
        payment_id text The payment that it is about.
        state text For example `open`.
        detail json More about it.
        resolved_by text Who resolved it.
        created_at moment When it was opened.
        resolved_at moment When it was resolved.
        """,
        "operator_cases",
    ),
    part(
        "staff_decisions",
        "t.id",
        "Decisions by staff about outcomes that stayed unknown.",
        """
        id text The decision's id.
        environment text `sandbox` or `production`.
        payment_id text The payment.
        attempt_id text The attempt.
        config_id integer The provider configuration.
        decided_on text What was decided about: a payment, a refund or an operation.
        subject text Its id.
        is_done flag Whether it happened, by this decision.
        currency text ISO 4217.
        amount integer In minor units of `currency`.
        transaction_id text The provider's transaction that was named.
        note text What was noted.
        decided_by text Who decided.
        decided_at moment When.
        """,
    ),
    part(
        "audit_log",
        "t.id",
        "Who did what in the practice.",
        """
        id integer The entry's number.
        at moment When.
        actor text Who.
        action text What, for example `refund.created`.
        subject text To what.
        detail json More about it.
        """,
    ),
    part(
        "provider_configurations",
        "t.id",
        "The practice's providers, without their keys and secret settings.",
        """
        id integer The configuration's id.
        provider_code text The provider.
        provider_name text Its name.
        environment text `sandbox` or `production`.
        is_enabled flag Whether it takes payments.
        is_default flag Whether it is the default.
        priority integer The higher comes first.
        supported_currencies json The currencies that it is used for.
        relay_urls json Where webhooks are forwarded that are not about anything here.
        credential_version integer The version of its keys.
        configured_by integer The person who configured it last.
        last_tested_at moment When its keys were last tested.
        last_used_at moment When it was last used.
        removed_at moment When it was removed.
        created_at moment When it was created.
        updated_at moment When it was last changed.
        """,
        "practice_payment_providers",
    ),
    part(
        "currency_defaults",
        "t.environment, t.currency_code",
        "The default provider of a currency.",
        """
        environment text `sandbox` or `production`.
        currency_code text ISO 4217.
        config_id integer The provider configuration.
        """,
    ),
    part(
        "routing_policies",
        "t.id",
        "The versions of the practice's routing policies.",
        f"""
        id integer The version's id.
        environment text `sandbox` or `production`.
        version integer Its number.
        edits integer How often it was edited.
        is_active={_IS_ACTIVE} flag Whether it routes payments.
        content text The policy, as JSON.
        note text What was noted.
        created_by text Who created it.
        changed_by text Who changed it last.
        published_by text Who published it.
        created_at moment When it was created.
        changed_at moment When it was last changed.
        published_at moment When it was first published.
        """,
    ),
    part(
        "staff",
        "t.id",
        "The people who may sign in, without their passwords.",
        """
        id integer The person's id, which the audit log names.
        email text The e-mail address.
        name text The name.
        role text `admin` or `viewer`.
        is_active flag Whether they may sign in.
        created_at moment When they were added.
        updated_at moment When they were last changed.
        """,
        "users",
    ),
)

# Tables that are left out, and why.
LEFT_OUT: dict[str, str] = {
    "alembic_version": "The manifest has the schema version.",
    "currencies": "ISO 4217.",
    "identity": "It has only the practice's id, and what detects older copies.",
    "listing_cursors": "How far listings of providers were read.",
    "payment_search": "An index of what the payments have.",
    "payment_search_blocks": "An index of what the payments have.",
    "person_links": "Tokens.",
    "provider_credentials": "Keys.",
    "retention_marks": "How far old rows were removed.",
    "revoked_keys": "Hashes of API keys. `api_keys` says which are revoked.",
    "routing_active": "It is `isActive` of the routing policies.",
    "saved_method_detachments": "Tokens of removed methods that the provider still has to detach.",
    "sessions": "Tokens.",
    "sign_in_failures": "Hashes of addresses from which signing in failed.",
    "webhook_names": "An index of what the webhooks have.",
    "webhook_relays": "Webhooks on their way to another system: sealed.",
}
# Columns that are left out everywhere, and those of one table.
NEVER: dict[str, str] = {
    "practice_id": "The manifest names the practice.",
    "fingerprint": "A hash of the request, or of a card.",
    "search_key": "An index.",
    "next_lookup_at": "The plan of lookups.",
    "lookups": "The plan of lookups.",
}
LEFT_OUT_COLUMNS: dict[str, dict[str, str]] = {
    "practices": {
        "default_currency_id": "It is `defaultCurrency`.",
        "rollout_phase": "A copy of the platform's plan.",
        "provider_changes": "A counter.",
    },
    "payments": {"version": "A counter.", "dispute_version": "A counter."},
    "payment_attempts": {"next_action": "Sealed.", "wire_format": "How its request was written."},
    "practice_payment_providers": {
        "hook_token": "A token.",
        "public_key": "Sealed.",
        "secret_key": "Sealed.",
        "webhook_secret": "Sealed.",
        "config": "It has secret settings.",
        "revision": "A counter.",
    },
    "saved_methods": {"sealed_token": "A token.", "same_card": "An index.", "customer_key": "An index."},
    "staff_decisions": {"transaction_key": "An index."},
    "users": {"password_hash": "A password."},
}
