"""Where personal data are: for each column of both databases, what it may hold. A column that is not declared here fails
``tests/house/test_personal_data.py``, and so does one of a customer's that ``erasing.py`` does not erase.

Next to the schema, because a new column is declared together with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from polytill.domain.personal_data import Holds


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one table by what they may hold, as names separated by spaces."""

    nothing: str = ""
    customer: str = ""
    document: str = ""
    staff: str = ""

    def holds(self) -> dict[str, Holds]:
        """What each column may hold."""
        return {name: kind for kind in Holds for name in getattr(self, kind).split()}


_SHARED = {
    "currencies": Columns("id code name exponent"),
    "users": Columns("id role is_active created_at updated_at", staff="email name password_hash"),
    "sessions": Columns("id user_id token_hash created_at last_seen_at"),
    "person_links": Columns("id user_id token_hash created_at expires_at"),
    "retention_marks": Columns("kind reached removed ran_at"),
    "sign_in_failures": Columns("id at", staff="email_hash address_hash"),
}

PRACTICE: dict[str, Columns] = _SHARED | {
    # The subject of a line about staff is their e-mail address.
    "audit_log": Columns("id at actor action", document="detail", staff="subject"),
    "identity": Columns("id practice_id epoch installation birthplace created_at"),
    "revoked_keys": Columns("key_hash revoked_at"),
    "practices": Columns(
        "id name default_currency_id created_at updated_at checkout_color country time_zone rollout_phase"
        " provider_changes"
    ),
    "practice_payment_providers": Columns(
        "id practice_id provider_code provider_name hook_token is_enabled is_default public_key secret_key"
        " webhook_secret environment config supported_currencies priority configured_by last_tested_at last_used_at"
        " created_at updated_at credential_version revision removed_at relay_urls"
    ),
    "provider_credentials": Columns(
        "id practice_id environment config_id version state public_key secret_key webhook_secret config created_at"
        " superseded_at"
    ),
    "currency_defaults": Columns("practice_id environment currency_code config_id"),
    "routing_policies": Columns(
        "id practice_id environment version edits content note created_by changed_by created_at changed_at"
        " published_by published_at"
    ),
    "routing_active": Columns("environment practice_id version changed_by changed_at"),
    "listing_cursors": Columns("config_id environment compared_until"),
    # An idempotency key stays: without it, a repeated request would make a second payment. A fingerprint is a hash of the
    # request with the customer's data, which could be guessed.
    "payments": Columns(
        "id practice_id environment status currency capture_mode amount amount_authorized amount_captured"
        " amount_refunded refund_reserved amount_lost duplicate_refunded amount_disputed version dispute_version"
        " payment_method provider_code provider_transaction_id provider_fee_currency provider_fee failure_reason"
        " cancel_reason saved_method_id pinned_provider save_method idempotency_key created_by expires_at created_at"
        " updated_at number certainty doubts erasure",
        customer="customer_email customer_name customer_phone description reference return_url fingerprint",
        document="provider_response metadata method_details",
    ),
    "payment_attempts": Columns(
        "id practice_id environment payment_id config_id number credential_version provider_code state currency amount"
        " provider_transaction_id reason raw_code unclear_since next_lookup_at lookups created_at updated_at wire_format",
        customer="detail",
        document="next_action",
    ),
    # Only the last digits of a card are a customer's; the other kinds are the provider's ids.
    "payment_identifiers": Columns(
        "practice_id environment payment_id attempt_id kind created_at", customer="value search_key"
    ),
    "payment_search": Columns(
        "environment created_at payment_id major_units block", customer="email reference", document="body"
    ),
    "payment_search_blocks": Columns(
        "environment block oldest_at newest_at", document="part0 part1 part2 part3 part4 part5 part6 part7"
    ),
    "payment_operations": Columns(
        "id practice_id environment payment_id attempt_id kind state idempotency_key fingerprint created_by"
        " amount reason raw_code next_lookup_at lookups created_at updated_at",
        customer="detail",
    ),
    "refunds": Columns(
        "id practice_id environment payment_id attempt_id state currency origin idempotency_key created_by amount"
        " failure_reason raw_code provider_refund_id booked booked_duplicate next_lookup_at lookups created_at updated_at"
        " provider_dispute_id unclear_since search_key is_reversal",
        customer="reason detail fingerprint",
        document="provider_response",
    ),
    "disputes": Columns(
        "id practice_id environment payment_id attempt_id provider_dispute_id state provider_state currency amount"
        " funds_withdrawn due_at reason created_at updated_at kind booked counted_as funds_returned search_key",
        customer="provider_reason",
    ),
    "ledger_lines": Columns(
        "id practice_id environment payment_id entry_id currency account fact amount refund_id created_at"
        " provider_code method"
    ),
    "saved_methods": Columns(
        "id practice_id environment payment_id config_id provider_code kind created_at removed_at",
        customer="same_card customer_email customer_key brand last4 expires fingerprint provider_customer_id",
        document="sealed_token",
    ),
    "saved_method_detachments": Columns(
        "id practice_id environment config_id last_code state tries next_try_at created_at updated_at",
        customer="provider_customer_id",
        document="sealed_token",
    ),
    # The reason of a webhook that cannot be read may quote it.
    "webhook_events": Columns(
        "id practice_id environment config_id provider_code dedupe_key event_type state payment_id must_fetch tries"
        " received_at applied_at",
        customer="reason dismissed_note",
        document="body",
    ),
    "webhook_names": Columns("event_id config_id name"),
    "webhook_relays": Columns(
        "event_id practice_id environment config_id state otherwise body_hash last_error size_bytes tries last_status"
        " next_try_at created_at ended_at",
        document="sealed_request",
    ),
    "operator_cases": Columns(
        "id practice_id environment kind subject payment_id resolved_by state created_at resolved_at", document="detail"
    ),
    "staff_decisions": Columns(
        "id practice_id environment payment_id attempt_id config_id decided_on subject currency decided_by is_done"
        " transaction_id transaction_key amount decided_at",
        customer="note",
    ),
    "events": Columns("id practice_id environment event_id type payment_id created_at forwarded_at", document="data"),
    "payment_links": Columns(
        "id practice_id environment amount currency created_by single_use state expires_at created_at updated_at",
        customer="description reference",
    ),
    "payment_link_payments": Columns("payment_id link_id created_at"),
}

OWNER: dict[str, Columns] = _SHARED | {
    "audit_log": Columns("id at actor action detail", staff="subject"),
    "payment_providers": Columns(
        "id code name description logo_url website_url documentation_url api_base_url sandbox_api_base_url"
        " supported_currencies supported_payment_methods supported_features config_schema requires_public_key"
        " requires_secret_key requires_webhook_secret status is_default priority integration_type handler_module"
        " created_by created_at updated_at"
    ),
    "provider_currency_support": Columns(
        "id provider_id currency_code is_recommended transaction_fee_percent transaction_fee_fixed min_amount"
        " max_amount is_active created_at updated_at"
    ),
    "clusters": Columns("id name sealed_url state capacity connection_limit priority created_at updated_at"),
    "practices": Columns(
        "id name default_currency_id cluster database_name state schema_version wrapped_data_key created_at updated_at"
        " country time_zone external_id epoch mark_position mark_event_id mark_payment_id behind"
        " closed_at runs_out_at run_out_ended_at deleted_at deleted_by external_id_hash"
    ),
    "api_keys": Columns("id kind key_hash last4 practice_id name scopes created_at revoked_at"),
    "practice_leases": Columns(
        "practice_id lease_until claimed_by visit_due_at claimed_until relays_waiting oldest_relay_at"
    ),
    "practice_backups": Columns("practice_id name place size row_count made_at is_restored"),
    "practice_retention": Columns("practice_id kind days"),
    "practice_moves": Columns("to_database practice_id to_cluster from_cluster kept started_at moved_at refused_ms"),
    "connection_shares": Columns("server node_id connections wanted most"),
    "key_ring_keys": Columns("key_id check_value created_at"),
    "nodes": Columns("id name key_checks runs_worker started_at live_until"),
    "schema_readers": Columns("tree oldest"),
    "installation": Columns("id uid name place older_since last_practice_id is_sandbox_only"),
    "feed_state": Columns("id position visit"),
    "event_feed": Columns("id practice_id environment event_id type payment_id created_at", document="data"),
    "event_deliveries": Columns(
        "feed_id state practice_id tries payment_id last_error claimed_by last_status next_try_at delivered_at"
        " abandoned_at resolved_at claimed_until"
    ),
    "event_destinations": Columns("id url sealed_secret created_at updated_at"),
    "event_previous_secrets": Columns("id sealed_secret signs_until"),
    # Sealed, and without data about a person (``flows/payment_records.py``), except the fingerprint of the request.
    "payment_records": Columns("payment_id practice_id recorded_at", document="sealed"),
    # Keyed digests of identifiers: they show whether a customer's data are in an older copy, and nothing else.
    "erasures": Columns("id practice_id digests asked_by asked_at ended_at"),
    "jobs": Columns("id kind state actor arguments pause_reason foreground created_at ended_at"),
    "job_practices": Columns(
        "job_id practice_id state is_canary tries step node code detail due_at started_at ended_at"
    ),
    "practice_rollouts": Columns(
        "practice_id phase moving_to field_hash writing_hash field_detail compared_with moving_since next_try_at"
        " checked_at writing_until field_state field_due tries agreements moved_at"
    ),
    "rollout_decisions": Columns("practice_id at", customer="reference"),
    "rollout_differences": Columns(
        "id practice_id reason environment currency detail amount payment_method legacy_provider our_provider at",
        customer="reference",
    ),
    "field_readers": Columns("caller reads first_at last_at"),
    "field_read_reports": Columns("id first_at last_at"),
    "routing_outcomes": Columns("provider_code environment currency method period paid declined"),
    "routing_fees": Columns("provider_code environment currency method band period payments share_ppm"),
    "routing_health": Columns("provider_code environment version state changed_at"),
}
