CREATE TABLE audit_log (
    id {bigserial} NOT NULL,
    at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail {json},
    CONSTRAINT pk_audit_log PRIMARY KEY (id)
);
CREATE INDEX ix_audit_log_subject ON audit_log (subject);

CREATE TABLE currencies (
    id INTEGER NOT NULL,
    code TEXT NOT NULL,
    name TEXT NOT NULL,
    exponent INTEGER NOT NULL,
    CONSTRAINT pk_currencies PRIMARY KEY (id),
    CONSTRAINT uq_currencies_code UNIQUE (code)
);

CREATE TABLE identity (
    id INTEGER NOT NULL,
    practice_id INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    installation TEXT DEFAULT '' NOT NULL,
    birthplace TEXT,
    created_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_identity PRIMARY KEY (id),
    CONSTRAINT ck_identity_one_row CHECK (id = 1)
);

CREATE TABLE revoked_keys (
    key_hash TEXT NOT NULL,
    revoked_at {moment} NOT NULL,
    CONSTRAINT pk_revoked_keys PRIMARY KEY (key_hash)
);

CREATE TABLE payment_search_blocks (
    environment TEXT NOT NULL,
    block BIGINT NOT NULL,
    oldest_at {moment} NOT NULL,
    newest_at {moment} NOT NULL,
    part0 {bytes} NOT NULL,
    part1 {bytes} NOT NULL,
    part2 {bytes} NOT NULL,
    part3 {bytes} NOT NULL,
    part4 {bytes} NOT NULL,
    part5 {bytes} NOT NULL,
    part6 {bytes} NOT NULL,
    part7 {bytes} NOT NULL,
    CONSTRAINT pk_payment_search_blocks PRIMARY KEY (block),
    CONSTRAINT ck_payment_search_blocks_environment CHECK (environment IN ('sandbox', 'production'))
);
CREATE INDEX ix_payment_search_blocks_environment_block ON payment_search_blocks (environment, block);

CREATE TABLE sign_in_failures (
    id {bigserial} NOT NULL,
    email_hash TEXT NOT NULL,
    address_hash TEXT NOT NULL,
    at {moment} NOT NULL,
    CONSTRAINT pk_sign_in_failures PRIMARY KEY (id)
);
CREATE INDEX ix_sign_in_failures_at ON sign_in_failures (at);

CREATE TABLE users (
    id {serial} NOT NULL,
    email TEXT NOT NULL,
    name TEXT DEFAULT '' NOT NULL,
    role TEXT NOT NULL,
    password_hash TEXT,
    is_active BOOLEAN DEFAULT {true} NOT NULL,
    created_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_users PRIMARY KEY (id),
    CONSTRAINT uq_users_email UNIQUE (email),
    CONSTRAINT ck_users_role CHECK (role IN ('admin', 'viewer'))
);

CREATE TABLE person_links (
    id {bigserial} NOT NULL,
    user_id INTEGER NOT NULL,
    token_hash TEXT NOT NULL,
    created_at {moment} NOT NULL,
    expires_at {moment} NOT NULL,
    CONSTRAINT pk_person_links PRIMARY KEY (id),
    CONSTRAINT uq_person_links_token_hash UNIQUE (token_hash),
    CONSTRAINT fk_person_links_user_id FOREIGN KEY(user_id) REFERENCES users (id)
);
CREATE INDEX ix_person_links_user_id ON person_links (user_id);

CREATE TABLE practices (
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    default_currency_id INTEGER NOT NULL,
    created_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    checkout_color TEXT,
    country TEXT,
    time_zone TEXT DEFAULT 'UTC' NOT NULL,
    rollout_phase TEXT,
    provider_changes INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT pk_practices PRIMARY KEY (id),
    CONSTRAINT ck_practices_rollout_phase CHECK (rollout_phase IN ('legacy', 'shadow', 'live', 'closed')),
    CONSTRAINT fk_practices_default_currency_id FOREIGN KEY(default_currency_id) REFERENCES currencies (id)
);

CREATE TABLE sessions (
    id {bigserial} NOT NULL,
    user_id INTEGER NOT NULL,
    token_hash TEXT NOT NULL,
    created_at {moment} NOT NULL,
    last_seen_at {moment} NOT NULL,
    CONSTRAINT pk_sessions PRIMARY KEY (id),
    CONSTRAINT uq_sessions_token_hash UNIQUE (token_hash),
    CONSTRAINT fk_sessions_user_id FOREIGN KEY(user_id) REFERENCES users (id)
);
CREATE INDEX ix_sessions_user_id ON sessions (user_id);

CREATE TABLE events (
    id {bigserial} NOT NULL,
    event_id TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    type TEXT NOT NULL,
    payment_id TEXT,
    data TEXT NOT NULL,
    created_at {moment} NOT NULL,
    forwarded_at {moment},
    CONSTRAINT pk_events PRIMARY KEY (id),
    CONSTRAINT ck_events_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT uq_events_event_id UNIQUE (event_id),
    CONSTRAINT fk_events_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id)
);
CREATE INDEX ix_events_forwarded_at_id ON events (forwarded_at, id);

CREATE TABLE operator_cases (
    id TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    payment_id TEXT,
    state TEXT DEFAULT 'open' NOT NULL,
    detail {json},
    created_at {moment} NOT NULL,
    resolved_at {moment},
    resolved_by TEXT,
    CONSTRAINT pk_operator_cases PRIMARY KEY (id),
    CONSTRAINT ck_operator_cases_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT uq_operator_cases_kind_subject UNIQUE (kind, subject),
    CONSTRAINT ck_operator_cases_kind CHECK (kind IN ('duplicate_payment', 'duplicate_authorization', 'amount_mismatch', 'refund_mismatch', 'currency_mismatch', 'other_account', 'unresolved', 'staff_contradicted', 'over_returned', 'reversed_and_won', 'refund_or_dispute', 'refund_failed', 'refund_unclear', 'inquiry_open', 'dispute_open', 'dispute_won', 'dispute_lost', 'dispute_closed', 'notice', 'saved_method_not_detached', 'listing_missing_here', 'listing_missing_there', 'listing_amount_differs', 'listing_status_differs')),
    CONSTRAINT ck_operator_cases_state CHECK (state IN ('open', 'resolved')),
    CONSTRAINT fk_operator_cases_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id)
);
CREATE INDEX ix_operator_cases_state_created_at ON operator_cases (state, created_at);

CREATE TABLE payment_links (
    id TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    description TEXT NOT NULL,
    reference TEXT,
    single_use BOOLEAN DEFAULT {true} NOT NULL,
    state TEXT DEFAULT 'open' NOT NULL,
    expires_at {moment} NOT NULL,
    created_by TEXT NOT NULL,
    created_at {moment} NOT NULL,
    updated_at {moment} NOT NULL,
    CONSTRAINT pk_payment_links PRIMARY KEY (id),
    CONSTRAINT ck_payment_links_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT ck_payment_links_state CHECK (state IN ('open', 'closed')),
    CONSTRAINT ck_payment_links_amount CHECK (amount > 0),
    CONSTRAINT fk_payment_links_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id)
);

CREATE TABLE payments (
    id TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    status TEXT NOT NULL,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    payment_method TEXT,
    capture_mode TEXT NOT NULL,
    amount_authorized BIGINT DEFAULT 0 NOT NULL,
    amount_captured BIGINT DEFAULT 0 NOT NULL,
    amount_refunded BIGINT DEFAULT 0 NOT NULL,
    refund_reserved BIGINT DEFAULT 0 NOT NULL,
    amount_lost BIGINT DEFAULT 0 NOT NULL,
    duplicate_refunded BIGINT DEFAULT 0 NOT NULL,
    amount_disputed BIGINT DEFAULT 0 NOT NULL,
    version BIGINT DEFAULT 0 NOT NULL,
    dispute_version BIGINT DEFAULT 0 NOT NULL,
    provider_code TEXT,
    provider_transaction_id TEXT,
    provider_response {json},
    provider_fee BIGINT,
    provider_fee_currency TEXT,
    customer_email TEXT,
    customer_name TEXT,
    customer_phone TEXT,
    description TEXT,
    reference TEXT,
    metadata {json},
    return_url TEXT,
    failure_reason TEXT,
    cancel_reason TEXT,
    pinned_provider BOOLEAN DEFAULT {false} NOT NULL,
    save_method BOOLEAN DEFAULT {false} NOT NULL,
    saved_method_id TEXT,
    method_details {json},
    idempotency_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at {moment},
    created_at {moment} NOT NULL,
    updated_at {moment} NOT NULL,
    number TEXT NOT NULL,
    certainty TEXT,
    doubts {json},
    erasure TEXT,
    CONSTRAINT pk_payments PRIMARY KEY (id),
    CONSTRAINT ck_payments_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT uq_payments_practice_id_idempotency_key UNIQUE (practice_id, idempotency_key),
    CONSTRAINT ck_payments_status CHECK (status IN ('requires_action', 'processing', 'authorized', 'succeeded', 'failed', 'canceled')),
    CONSTRAINT ck_payments_capture_mode CHECK (capture_mode IN ('automatic', 'manual')),
    CONSTRAINT ck_payments_certainty CHECK (certainty IN ('verified', 'recorded', 'uncertain')),
    CONSTRAINT ck_payments_amount CHECK (amount > 0),
    CONSTRAINT ck_payments_money_order CHECK (amount_refunded >= 0 AND refund_reserved >= 0 AND amount_lost >= 0 AND duplicate_refunded >= 0 AND amount_refunded + refund_reserved <= amount_captured AND amount_captured <= amount_authorized),
    CONSTRAINT fk_payments_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id)
);
CREATE INDEX ix_payments_counts ON payments (environment, currency, status, created_at);
CREATE INDEX ix_payments_erasure ON payments (erasure) WHERE erasure IS NOT NULL;
CREATE INDEX ix_payments_environment_created_at_id ON payments (environment, created_at, id);
CREATE UNIQUE INDEX ix_payments_practice_id_number ON payments (practice_id, number);
CREATE INDEX ix_payments_status_expires_at ON payments (status, expires_at);

CREATE TABLE practice_payment_providers (
    id {serial} NOT NULL,
    practice_id INTEGER NOT NULL,
    provider_code TEXT NOT NULL,
    provider_name TEXT NOT NULL,
    is_enabled BOOLEAN DEFAULT {false} NOT NULL,
    is_default BOOLEAN DEFAULT {false} NOT NULL,
    public_key TEXT,
    secret_key TEXT,
    webhook_secret TEXT,
    environment TEXT DEFAULT 'sandbox' NOT NULL,
    config {json},
    supported_currencies {json},
    priority INTEGER DEFAULT 0 NOT NULL,
    configured_by INTEGER,
    last_tested_at {moment},
    last_used_at {moment},
    created_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    credential_version INTEGER DEFAULT 1 NOT NULL,
    hook_token TEXT NOT NULL,
    revision INTEGER DEFAULT 1 NOT NULL,
    removed_at {moment},
    relay_urls {json},
    CONSTRAINT pk_practice_payment_providers PRIMARY KEY (id),
    CONSTRAINT practice_provider_unique UNIQUE (practice_id, provider_code),
    CONSTRAINT uq_practice_payment_providers_hook_token UNIQUE (hook_token),
    CONSTRAINT ck_practice_payment_providers_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT fk_practice_payment_providers_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id),
    CONSTRAINT fk_practice_payment_providers_configured_by FOREIGN KEY(configured_by) REFERENCES users (id)
);

CREATE TABLE currency_defaults (
    practice_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    currency_code TEXT NOT NULL,
    config_id INTEGER NOT NULL,
    CONSTRAINT pk_currency_defaults PRIMARY KEY (practice_id, environment, currency_code),
    CONSTRAINT ck_currency_defaults_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT fk_currency_defaults_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id),
    CONSTRAINT fk_currency_defaults_config_id FOREIGN KEY(config_id) REFERENCES practice_payment_providers (id)
);

CREATE TABLE disputes (
    id TEXT NOT NULL,
    payment_id TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    provider_dispute_id TEXT NOT NULL,
    state TEXT NOT NULL,
    provider_state TEXT NOT NULL,
    amount BIGINT,
    currency TEXT NOT NULL,
    funds_withdrawn BOOLEAN DEFAULT {false} NOT NULL,
    due_at TEXT,
    created_at {moment} NOT NULL,
    updated_at {moment} NOT NULL,
    attempt_id TEXT NOT NULL,
    kind TEXT DEFAULT 'chargeback' NOT NULL,
    reason TEXT,
    provider_reason TEXT,
    booked BIGINT DEFAULT 0 NOT NULL,
    counted_as TEXT,
    funds_returned BOOLEAN DEFAULT {false} NOT NULL,
    search_key TEXT NOT NULL,
    CONSTRAINT pk_disputes PRIMARY KEY (id),
    CONSTRAINT ck_disputes_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT uq_disputes_payment_id_provider_dispute_id UNIQUE (payment_id, provider_dispute_id),
    CONSTRAINT ck_disputes_state CHECK (state IN ('open', 'won', 'lost', 'closed')),
    CONSTRAINT ck_disputes_kind CHECK (kind IN ('inquiry', 'chargeback')),
    CONSTRAINT ck_disputes_booked CHECK (booked >= 0),
    CONSTRAINT fk_disputes_payment_id FOREIGN KEY(payment_id) REFERENCES payments (id),
    CONSTRAINT fk_disputes_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id)
);
CREATE INDEX ix_disputes_search_key ON disputes (search_key);

CREATE TABLE ledger_lines (
    id {bigserial} NOT NULL,
    entry_id TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    currency TEXT NOT NULL,
    account TEXT NOT NULL,
    amount BIGINT NOT NULL,
    fact TEXT NOT NULL,
    payment_id TEXT NOT NULL,
    refund_id TEXT,
    created_at {moment} NOT NULL,
    provider_code TEXT DEFAULT '' NOT NULL,
    method TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_ledger_lines PRIMARY KEY (id),
    CONSTRAINT ck_ledger_lines_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT ck_ledger_lines_fact CHECK (fact IN ('payment', 'capture', 'duplicate_payment', 'fee', 'refund', 'refund_failed', 'dispute_lost', 'dispute_reversed', 'opening_payment', 'opening_fee', 'opening_refund')),
    CONSTRAINT fk_ledger_lines_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id),
    CONSTRAINT fk_ledger_lines_payment_id FOREIGN KEY(payment_id) REFERENCES payments (id)
);
CREATE INDEX ix_ledger_lines_environment_currency_account ON ledger_lines (environment, currency, account);
CREATE INDEX ix_ledger_lines_payment_id ON ledger_lines (payment_id);
CREATE INDEX ix_ledger_lines_sums ON ledger_lines (environment, currency, account, fact, provider_code, method, created_at, amount) WHERE provider_code <> '';

CREATE TABLE listing_cursors (
    config_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    compared_until {moment} NOT NULL,
    CONSTRAINT pk_listing_cursors PRIMARY KEY (config_id, environment),
    CONSTRAINT ck_listing_cursors_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT fk_listing_cursors_config_id FOREIGN KEY(config_id) REFERENCES practice_payment_providers (id)
);

CREATE TABLE payment_attempts (
    id TEXT NOT NULL,
    payment_id TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    number INTEGER NOT NULL,
    provider_code TEXT NOT NULL,
    config_id INTEGER NOT NULL,
    credential_version INTEGER NOT NULL,
    state TEXT NOT NULL,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    provider_transaction_id TEXT,
    reason TEXT,
    raw_code TEXT,
    detail TEXT,
    unclear_since {moment},
    next_action TEXT,
    next_lookup_at {moment},
    lookups INTEGER DEFAULT 0 NOT NULL,
    created_at {moment} NOT NULL,
    updated_at {moment} NOT NULL,
    wire_format INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT pk_payment_attempts PRIMARY KEY (id),
    CONSTRAINT ck_payment_attempts_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT uq_payment_attempts_payment_id_number UNIQUE (payment_id, number),
    CONSTRAINT ck_payment_attempts_state CHECK (state IN ('sent', 'needs_action', 'pending', 'authorized', 'succeeded', 'declined', 'not_sent', 'unknown', 'expired', 'canceled')),
    CONSTRAINT fk_payment_attempts_payment_id FOREIGN KEY(payment_id) REFERENCES payments (id),
    CONSTRAINT fk_payment_attempts_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id),
    CONSTRAINT fk_payment_attempts_config_id FOREIGN KEY(config_id) REFERENCES practice_payment_providers (id)
);
CREATE INDEX ix_payment_attempts_config_id_provider_transaction_id ON payment_attempts (config_id, provider_transaction_id);
CREATE INDEX ix_payment_attempts_next_lookup_at ON payment_attempts (next_lookup_at);

CREATE TABLE payment_link_payments (
    payment_id TEXT NOT NULL,
    link_id TEXT NOT NULL,
    created_at {moment} NOT NULL,
    CONSTRAINT pk_payment_link_payments PRIMARY KEY (payment_id),
    CONSTRAINT fk_payment_link_payments_payment_id FOREIGN KEY(payment_id) REFERENCES payments (id),
    CONSTRAINT fk_payment_link_payments_link_id FOREIGN KEY(link_id) REFERENCES payment_links (id)
);
CREATE INDEX ix_payment_link_payments_link_id_created_at ON payment_link_payments (link_id, created_at);

CREATE TABLE payment_search (
    environment TEXT NOT NULL,
    created_at {moment} NOT NULL,
    payment_id TEXT NOT NULL,
    major_units TEXT NOT NULL,
    email TEXT,
    reference TEXT,
    body TEXT NOT NULL,
    block BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_payment_search PRIMARY KEY (environment, created_at, payment_id),
    CONSTRAINT ck_payment_search_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT fk_payment_search_payment_id FOREIGN KEY(payment_id) REFERENCES payments (id)
){without_rowid};
CREATE INDEX ix_payment_search_block ON payment_search (block, environment, created_at);
CREATE INDEX ix_payment_search_email ON payment_search (email);
CREATE INDEX ix_payment_search_reference ON payment_search (reference);

CREATE TABLE provider_credentials (
    id {serial} NOT NULL,
    practice_id INTEGER NOT NULL,
    config_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    public_key TEXT,
    secret_key TEXT,
    webhook_secret TEXT,
    config {json},
    created_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    superseded_at {moment},
    CONSTRAINT pk_provider_credentials PRIMARY KEY (id),
    CONSTRAINT ck_provider_credentials_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT uq_provider_credentials_config_id_version UNIQUE (config_id, version),
    CONSTRAINT ck_provider_credentials_state CHECK (state IN ('prepared', 'superseded')),
    CONSTRAINT fk_provider_credentials_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id),
    CONSTRAINT fk_provider_credentials_config_id FOREIGN KEY(config_id) REFERENCES practice_payment_providers (id)
);

CREATE TABLE saved_method_detachments (
    id TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    config_id INTEGER NOT NULL,
    sealed_token TEXT,
    provider_customer_id TEXT,
    state TEXT DEFAULT 'due' NOT NULL,
    tries INTEGER DEFAULT 0 NOT NULL,
    next_try_at {moment},
    last_code TEXT,
    created_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_saved_method_detachments PRIMARY KEY (id),
    CONSTRAINT ck_saved_method_detachments_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT ck_saved_method_detachments_state CHECK (state IN ('due', 'detached', 'refused')),
    CONSTRAINT fk_saved_method_detachments_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id),
    CONSTRAINT fk_saved_method_detachments_config_id FOREIGN KEY(config_id) REFERENCES practice_payment_providers (id)
);
CREATE INDEX ix_saved_method_detachments_state_next_try_at ON saved_method_detachments (state, next_try_at);

CREATE TABLE saved_methods (
    id TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    payment_id TEXT NOT NULL,
    config_id INTEGER NOT NULL,
    provider_code TEXT NOT NULL,
    customer_email TEXT,
    kind TEXT NOT NULL,
    brand TEXT,
    last4 TEXT,
    expires TEXT,
    fingerprint TEXT,
    provider_customer_id TEXT,
    sealed_token TEXT,
    created_at {moment} NOT NULL,
    removed_at {moment},
    same_card TEXT NOT NULL,
    customer_key TEXT,
    CONSTRAINT pk_saved_methods PRIMARY KEY (id),
    CONSTRAINT ck_saved_methods_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT uq_saved_methods_payment_id UNIQUE (payment_id),
    CONSTRAINT ck_saved_methods_removed CHECK ((sealed_token IS NULL) = (removed_at IS NOT NULL)),
    CONSTRAINT fk_saved_methods_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id),
    CONSTRAINT fk_saved_methods_payment_id FOREIGN KEY(payment_id) REFERENCES payments (id),
    CONSTRAINT fk_saved_methods_config_id FOREIGN KEY(config_id) REFERENCES practice_payment_providers (id)
);
CREATE INDEX ix_saved_methods_customer_email ON saved_methods (customer_email);
CREATE INDEX ix_saved_methods_customer_key ON saved_methods (customer_key);
CREATE INDEX ix_saved_methods_same_card ON saved_methods (same_card);

CREATE TABLE webhook_events (
    id TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    config_id INTEGER NOT NULL,
    provider_code TEXT NOT NULL,
    dedupe_key TEXT NOT NULL,
    event_type TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    body {json},
    must_fetch BOOLEAN DEFAULT {false} NOT NULL,
    payment_id TEXT,
    tries INTEGER DEFAULT 0 NOT NULL,
    received_at {moment} NOT NULL,
    applied_at {moment},
    dismissed_note TEXT,
    CONSTRAINT pk_webhook_events PRIMARY KEY (id),
    CONSTRAINT ck_webhook_events_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT uq_webhook_events_config_id_environment_dedupe_key UNIQUE (config_id, environment, dedupe_key),
    CONSTRAINT ck_webhook_events_state CHECK (state IN ('received', 'applied', 'ignored', 'parked', 'relaying', 'relayed', 'dismissed')),
    CONSTRAINT fk_webhook_events_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id),
    CONSTRAINT fk_webhook_events_config_id FOREIGN KEY(config_id) REFERENCES practice_payment_providers (id)
);
CREATE INDEX ix_webhook_events_payment_id ON webhook_events (payment_id);
CREATE INDEX ix_webhook_events_state_received_at ON webhook_events (state, received_at);

CREATE TABLE webhook_names (
    event_id TEXT NOT NULL,
    config_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    CONSTRAINT pk_webhook_names PRIMARY KEY (event_id, name),
    CONSTRAINT fk_webhook_names_event_id FOREIGN KEY(event_id) REFERENCES webhook_events (id) ON DELETE CASCADE,
    CONSTRAINT fk_webhook_names_config_id FOREIGN KEY(config_id) REFERENCES practice_payment_providers (id)
);
CREATE INDEX ix_webhook_names_config_id_name ON webhook_names (config_id, name);

CREATE TABLE webhook_relays (
    event_id TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    config_id INTEGER NOT NULL,
    state TEXT NOT NULL,
    otherwise TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    sealed_request TEXT,
    last_error TEXT,
    size_bytes INTEGER NOT NULL,
    tries INTEGER DEFAULT 0 NOT NULL,
    last_status INTEGER,
    next_try_at {moment},
    created_at {moment} NOT NULL,
    ended_at {moment},
    CONSTRAINT pk_webhook_relays PRIMARY KEY (event_id),
    CONSTRAINT ck_webhook_relays_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT ck_webhook_relays_state CHECK (state IN ('waiting', 'forwarded', 'not_theirs', 'gave_up', 'ours', 'turned_off')),
    CONSTRAINT ck_webhook_relays_otherwise CHECK (otherwise IN ('parked', 'ignored')),
    CONSTRAINT ck_webhook_relays_sealed CHECK ((state = 'waiting') = (sealed_request IS NOT NULL)),
    CONSTRAINT fk_webhook_relays_event_id FOREIGN KEY(event_id) REFERENCES webhook_events (id) ON DELETE CASCADE,
    CONSTRAINT fk_webhook_relays_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id),
    CONSTRAINT fk_webhook_relays_config_id FOREIGN KEY(config_id) REFERENCES practice_payment_providers (id)
);
CREATE INDEX ix_webhook_relays_config_id_state ON webhook_relays (config_id, state);
CREATE INDEX ix_webhook_relays_state_next_try_at ON webhook_relays (state, next_try_at);

CREATE TABLE payment_identifiers (
    attempt_id TEXT NOT NULL,
    payment_id TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    search_key TEXT NOT NULL,
    created_at {moment} NOT NULL,
    CONSTRAINT pk_payment_identifiers PRIMARY KEY (attempt_id, kind, value),
    CONSTRAINT ck_payment_identifiers_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT fk_payment_identifiers_attempt_id FOREIGN KEY(attempt_id) REFERENCES payment_attempts (id),
    CONSTRAINT fk_payment_identifiers_payment_id FOREIGN KEY(payment_id) REFERENCES payments (id),
    CONSTRAINT fk_payment_identifiers_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id)
);
CREATE INDEX ix_payment_identifiers_payment_id ON payment_identifiers (payment_id);
CREATE INDEX ix_payment_identifiers_search_key ON payment_identifiers (search_key);

CREATE TABLE payment_operations (
    id TEXT NOT NULL,
    payment_id TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    attempt_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    amount BIGINT,
    state TEXT NOT NULL,
    reason TEXT,
    raw_code TEXT,
    idempotency_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    created_by TEXT NOT NULL,
    next_lookup_at {moment},
    lookups INTEGER DEFAULT 0 NOT NULL,
    created_at {moment} NOT NULL,
    updated_at {moment} NOT NULL,
    detail TEXT,
    CONSTRAINT pk_payment_operations PRIMARY KEY (id),
    CONSTRAINT ck_payment_operations_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT fk_payment_operations_attempt_id FOREIGN KEY(attempt_id) REFERENCES payment_attempts (id),
    CONSTRAINT uq_payment_operations_practice_id_idempotency_key UNIQUE (practice_id, idempotency_key),
    CONSTRAINT ck_payment_operations_kind CHECK (kind IN ('capture', 'cancel')),
    CONSTRAINT ck_payment_operations_state CHECK (state IN ('sent', 'pending', 'succeeded', 'declined', 'not_sent', 'unknown')),
    CONSTRAINT fk_payment_operations_payment_id FOREIGN KEY(payment_id) REFERENCES payments (id),
    CONSTRAINT fk_payment_operations_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id)
);
CREATE INDEX ix_payment_operations_next_lookup_at ON payment_operations (next_lookup_at);
CREATE INDEX ix_payment_operations_payment_id ON payment_operations (payment_id);

CREATE TABLE refunds (
    id TEXT NOT NULL,
    payment_id TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    attempt_id TEXT NOT NULL,
    state TEXT NOT NULL,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    reason TEXT,
    origin TEXT NOT NULL,
    failure_reason TEXT,
    raw_code TEXT,
    provider_refund_id TEXT,
    provider_response {json},
    booked BIGINT DEFAULT 0 NOT NULL,
    booked_duplicate BIGINT DEFAULT 0 NOT NULL,
    idempotency_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    created_by TEXT NOT NULL,
    next_lookup_at {moment},
    lookups INTEGER DEFAULT 0 NOT NULL,
    created_at {moment} NOT NULL,
    updated_at {moment} NOT NULL,
    provider_dispute_id TEXT,
    detail TEXT,
    unclear_since {moment},
    search_key TEXT,
    is_reversal BOOLEAN DEFAULT {false} NOT NULL,
    CONSTRAINT pk_refunds PRIMARY KEY (id),
    CONSTRAINT ck_refunds_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT fk_refunds_attempt_id FOREIGN KEY(attempt_id) REFERENCES payment_attempts (id),
    CONSTRAINT uq_refunds_practice_id_idempotency_key UNIQUE (practice_id, idempotency_key),
    CONSTRAINT uq_refunds_payment_id_provider_refund_id UNIQUE (payment_id, provider_refund_id),
    CONSTRAINT ck_refunds_amount CHECK (amount > 0),
    CONSTRAINT ck_refunds_state CHECK (state IN ('sent', 'pending', 'succeeded', 'declined', 'not_sent', 'unknown', 'failed')),
    CONSTRAINT ck_refunds_origin CHECK (origin IN ('api', 'provider')),
    CONSTRAINT fk_refunds_payment_id FOREIGN KEY(payment_id) REFERENCES payments (id),
    CONSTRAINT fk_refunds_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id)
);
CREATE INDEX ix_refunds_next_lookup_at ON refunds (next_lookup_at);
CREATE INDEX ix_refunds_search_key ON refunds (search_key);

CREATE TABLE routing_policies (
    id {serial} NOT NULL,
    practice_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    version INTEGER NOT NULL,
    edits INTEGER DEFAULT 0 NOT NULL,
    content TEXT NOT NULL,
    note TEXT DEFAULT '' NOT NULL,
    created_by TEXT NOT NULL,
    changed_by TEXT NOT NULL,
    created_at {moment} NOT NULL,
    changed_at {moment} NOT NULL,
    published_by TEXT,
    published_at {moment},
    CONSTRAINT pk_routing_policies PRIMARY KEY (id),
    CONSTRAINT ck_routing_policies_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT uq_routing_policies_environment_version UNIQUE (environment, version),
    CONSTRAINT fk_routing_policies_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id)
);

CREATE TABLE retention_marks (
    kind TEXT NOT NULL,
    reached TEXT DEFAULT '' NOT NULL,
    removed BIGINT DEFAULT 0 NOT NULL,
    ran_at {moment} NOT NULL,
    CONSTRAINT pk_retention_marks PRIMARY KEY (kind),
    CONSTRAINT ck_retention_marks_kind CHECK (kind IN ('webhooks', 'responses', 'events', 'audit'))
);

CREATE TABLE routing_active (
    environment TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    version INTEGER NOT NULL,
    changed_by TEXT NOT NULL,
    changed_at {moment} NOT NULL,
    CONSTRAINT pk_routing_active PRIMARY KEY (environment),
    CONSTRAINT ck_routing_active_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT fk_routing_active_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id)
);

CREATE TABLE staff_decisions (
    id TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    payment_id TEXT NOT NULL,
    attempt_id TEXT NOT NULL,
    decided_on TEXT NOT NULL,
    subject TEXT NOT NULL,
    is_done BOOLEAN NOT NULL,
    config_id INTEGER NOT NULL,
    transaction_id TEXT,
    transaction_key TEXT,
    amount BIGINT,
    currency TEXT NOT NULL,
    note TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    decided_at {moment} NOT NULL,
    CONSTRAINT pk_staff_decisions PRIMARY KEY (id),
    CONSTRAINT ck_staff_decisions_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT uq_staff_decisions_decided_on_subject UNIQUE (decided_on, subject),
    CONSTRAINT uq_staff_decisions_config_id_environment_transaction_key UNIQUE (config_id, environment, transaction_key),
    CONSTRAINT ck_staff_decisions_decided_on CHECK (decided_on IN ('payment', 'refund', 'capture', 'cancel')),
    CONSTRAINT fk_staff_decisions_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id),
    CONSTRAINT fk_staff_decisions_payment_id FOREIGN KEY(payment_id) REFERENCES payments (id),
    CONSTRAINT fk_staff_decisions_attempt_id FOREIGN KEY(attempt_id) REFERENCES payment_attempts (id),
    CONSTRAINT fk_staff_decisions_config_id FOREIGN KEY(config_id) REFERENCES practice_payment_providers (id)
);
CREATE INDEX ix_staff_decisions_attempt_id ON staff_decisions (attempt_id);

-- ISO 4217.
INSERT INTO currencies (id, code, name, exponent) VALUES
    (784, 'AED', 'UAE Dirham', 2), (971, 'AFN', 'Afghani', 2), (8, 'ALL', 'Lek', 2),
    (51, 'AMD', 'Armenian Dram', 2), (973, 'AOA', 'Kwanza', 2), (32, 'ARS', 'Argentine Peso', 2),
    (36, 'AUD', 'Australian Dollar', 2), (533, 'AWG', 'Aruban Florin', 2), (944, 'AZN', 'Azerbaijan Manat', 2),
    (977, 'BAM', 'Convertible Mark', 2), (52, 'BBD', 'Barbados Dollar', 2), (50, 'BDT', 'Taka', 2),
    (48, 'BHD', 'Bahraini Dinar', 3), (108, 'BIF', 'Burundi Franc', 0), (60, 'BMD', 'Bermudian Dollar', 2),
    (96, 'BND', 'Brunei Dollar', 2), (68, 'BOB', 'Boliviano', 2), (986, 'BRL', 'Brazilian Real', 2),
    (44, 'BSD', 'Bahamian Dollar', 2), (64, 'BTN', 'Ngultrum', 2), (72, 'BWP', 'Pula', 2),
    (933, 'BYN', 'Belarusian Ruble', 2), (84, 'BZD', 'Belize Dollar', 2), (124, 'CAD', 'Canadian Dollar', 2),
    (976, 'CDF', 'Congolese Franc', 2), (756, 'CHF', 'Swiss Franc', 2), (152, 'CLP', 'Chilean Peso', 0),
    (156, 'CNY', 'Yuan Renminbi', 2), (170, 'COP', 'Colombian Peso', 2), (188, 'CRC', 'Costa Rican Colon', 2),
    (192, 'CUP', 'Cuban Peso', 2), (132, 'CVE', 'Cabo Verde Escudo', 2), (203, 'CZK', 'Czech Koruna', 2),
    (262, 'DJF', 'Djibouti Franc', 0), (208, 'DKK', 'Danish Krone', 2), (214, 'DOP', 'Dominican Peso', 2),
    (12, 'DZD', 'Algerian Dinar', 2), (818, 'EGP', 'Egyptian Pound', 2), (232, 'ERN', 'Nakfa', 2),
    (230, 'ETB', 'Ethiopian Birr', 2), (978, 'EUR', 'Euro', 2), (242, 'FJD', 'Fiji Dollar', 2),
    (238, 'FKP', 'Falkland Islands Pound', 2), (826, 'GBP', 'Pound Sterling', 2), (981, 'GEL', 'Lari', 2),
    (936, 'GHS', 'Ghana Cedi', 2), (292, 'GIP', 'Gibraltar Pound', 2), (270, 'GMD', 'Dalasi', 2),
    (324, 'GNF', 'Guinean Franc', 0), (320, 'GTQ', 'Quetzal', 2), (328, 'GYD', 'Guyana Dollar', 2),
    (344, 'HKD', 'Hong Kong Dollar', 2), (340, 'HNL', 'Lempira', 2), (332, 'HTG', 'Gourde', 2),
    (348, 'HUF', 'Forint', 2), (360, 'IDR', 'Rupiah', 2), (376, 'ILS', 'New Israeli Sheqel', 2),
    (356, 'INR', 'Indian Rupee', 2), (368, 'IQD', 'Iraqi Dinar', 3), (364, 'IRR', 'Iranian Rial', 2),
    (352, 'ISK', 'Iceland Krona', 0), (388, 'JMD', 'Jamaican Dollar', 2), (400, 'JOD', 'Jordanian Dinar', 3),
    (392, 'JPY', 'Yen', 0), (404, 'KES', 'Kenyan Shilling', 2), (417, 'KGS', 'Som', 2), (116, 'KHR', 'Riel', 2),
    (174, 'KMF', 'Comorian Franc', 0), (408, 'KPW', 'North Korean Won', 2), (410, 'KRW', 'Won', 0),
    (414, 'KWD', 'Kuwaiti Dinar', 3), (136, 'KYD', 'Cayman Islands Dollar', 2), (398, 'KZT', 'Tenge', 2),
    (418, 'LAK', 'Lao Kip', 2), (422, 'LBP', 'Lebanese Pound', 2), (144, 'LKR', 'Sri Lanka Rupee', 2),
    (430, 'LRD', 'Liberian Dollar', 2), (426, 'LSL', 'Loti', 2), (434, 'LYD', 'Libyan Dinar', 3),
    (504, 'MAD', 'Moroccan Dirham', 2), (498, 'MDL', 'Moldovan Leu', 2), (969, 'MGA', 'Malagasy Ariary', 2),
    (807, 'MKD', 'Denar', 2), (104, 'MMK', 'Kyat', 2), (496, 'MNT', 'Tugrik', 2), (446, 'MOP', 'Pataca', 2),
    (929, 'MRU', 'Ouguiya', 2), (480, 'MUR', 'Mauritius Rupee', 2), (462, 'MVR', 'Rufiyaa', 2),
    (454, 'MWK', 'Malawi Kwacha', 2), (484, 'MXN', 'Mexican Peso', 2), (458, 'MYR', 'Malaysian Ringgit', 2),
    (943, 'MZN', 'Mozambique Metical', 2), (516, 'NAD', 'Namibia Dollar', 2), (566, 'NGN', 'Naira', 2),
    (558, 'NIO', 'Cordoba Oro', 2), (578, 'NOK', 'Norwegian Krone', 2), (524, 'NPR', 'Nepalese Rupee', 2),
    (554, 'NZD', 'New Zealand Dollar', 2), (512, 'OMR', 'Rial Omani', 3), (590, 'PAB', 'Balboa', 2),
    (604, 'PEN', 'Sol', 2), (598, 'PGK', 'Kina', 2), (608, 'PHP', 'Philippine Peso', 2),
    (586, 'PKR', 'Pakistan Rupee', 2), (985, 'PLN', 'Zloty', 2), (600, 'PYG', 'Guarani', 0),
    (634, 'QAR', 'Qatari Rial', 2), (946, 'RON', 'Romanian Leu', 2), (941, 'RSD', 'Serbian Dinar', 2),
    (643, 'RUB', 'Russian Ruble', 2), (646, 'RWF', 'Rwanda Franc', 0), (682, 'SAR', 'Saudi Riyal', 2),
    (90, 'SBD', 'Solomon Islands Dollar', 2), (690, 'SCR', 'Seychelles Rupee', 2),
    (938, 'SDG', 'Sudanese Pound', 2), (752, 'SEK', 'Swedish Krona', 2), (702, 'SGD', 'Singapore Dollar', 2),
    (654, 'SHP', 'Saint Helena Pound', 2), (925, 'SLE', 'Leone', 2), (706, 'SOS', 'Somali Shilling', 2),
    (968, 'SRD', 'Surinam Dollar', 2), (728, 'SSP', 'South Sudanese Pound', 2), (930, 'STN', 'Dobra', 2),
    (222, 'SVC', 'El Salvador Colon', 2), (760, 'SYP', 'Syrian Pound', 2), (748, 'SZL', 'Lilangeni', 2),
    (764, 'THB', 'Baht', 2), (972, 'TJS', 'Somoni', 2), (934, 'TMT', 'Turkmenistan New Manat', 2),
    (788, 'TND', 'Tunisian Dinar', 3), (776, 'TOP', 'Pa’anga', 2), (949, 'TRY', 'Turkish Lira', 2),
    (780, 'TTD', 'Trinidad and Tobago Dollar', 2), (901, 'TWD', 'New Taiwan Dollar', 2),
    (834, 'TZS', 'Tanzanian Shilling', 2), (980, 'UAH', 'Hryvnia', 2), (800, 'UGX', 'Uganda Shilling', 0),
    (840, 'USD', 'US Dollar', 2), (858, 'UYU', 'Peso Uruguayo', 2), (860, 'UZS', 'Uzbekistan Sum', 2),
    (926, 'VED', 'Bolívar Soberano', 2), (928, 'VES', 'Bolívar Soberano', 2), (704, 'VND', 'Dong', 0),
    (548, 'VUV', 'Vatu', 0), (882, 'WST', 'Tala', 2), (950, 'XAF', 'CFA Franc BEAC', 0),
    (951, 'XCD', 'East Caribbean Dollar', 2), (532, 'XCG', 'Caribbean Guilder', 2),
    (952, 'XOF', 'CFA Franc BCEAO', 0), (953, 'XPF', 'CFP Franc', 0), (886, 'YER', 'Yemeni Rial', 2),
    (710, 'ZAR', 'Rand', 2), (967, 'ZMW', 'Zambian Kwacha', 2), (924, 'ZWG', 'Zimbabwe Gold', 2);
