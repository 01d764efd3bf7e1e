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

CREATE TABLE clusters (
    id {serial} NOT NULL,
    name TEXT NOT NULL,
    sealed_url TEXT,
    state TEXT DEFAULT 'open' NOT NULL,
    capacity INTEGER,
    connection_limit INTEGER,
    priority INTEGER DEFAULT 0 NOT NULL,
    created_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_clusters PRIMARY KEY (id),
    CONSTRAINT ck_clusters_state CHECK (state IN ('open', 'closed')),
    CONSTRAINT ck_clusters_address CHECK ((name = 'default') = (sealed_url IS NULL)),
    CONSTRAINT ck_clusters_limits CHECK (capacity >= 1 AND connection_limit >= 2),
    CONSTRAINT uq_clusters_name UNIQUE (name)
);
INSERT INTO clusters (name) VALUES ('default');

CREATE TABLE currencies (
    id INTEGER NOT NULL,
    code TEXT NOT NULL,
    name TEXT NOT NULL,
    exponent INTEGER NOT NULL,
    CONSTRAINT pk_currencies PRIMARY KEY (id),
    CONSTRAINT uq_currencies_code UNIQUE (code)
);

CREATE TABLE event_destinations (
    id INTEGER NOT NULL,
    url TEXT NOT NULL,
    sealed_secret TEXT NOT NULL,
    created_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_event_destinations PRIMARY KEY (id),
    CONSTRAINT ck_event_destinations_one_row CHECK (id = 1)
);

CREATE TABLE event_feed (
    id {bigserial} NOT NULL,
    event_id TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    environment TEXT NOT NULL,
    type TEXT NOT NULL,
    payment_id TEXT,
    data TEXT NOT NULL,
    created_at {moment} NOT NULL,
    CONSTRAINT pk_event_feed PRIMARY KEY (id),
    CONSTRAINT ck_event_feed_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT uq_event_feed_event_id UNIQUE (event_id)
);
CREATE INDEX ix_event_feed_payment_id ON event_feed (payment_id);

CREATE TABLE event_previous_secrets (
    id {bigserial} NOT NULL,
    sealed_secret TEXT NOT NULL,
    signs_until {moment} NOT NULL,
    CONSTRAINT pk_event_previous_secrets PRIMARY KEY (id)
);

CREATE TABLE jobs (
    id {bigserial} NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    actor TEXT NOT NULL,
    arguments {json} NOT NULL,
    pause_reason TEXT,
    foreground TEXT,
    created_at {moment} NOT NULL,
    ended_at {moment},
    CONSTRAINT pk_jobs PRIMARY KEY (id),
    CONSTRAINT ck_jobs_kind CHECK (kind IN ('migrate', 'backup', 'move', 'delete')),
    CONSTRAINT ck_jobs_state CHECK (state IN ('running', 'paused', 'succeeded', 'failed', 'canceled')),
    CONSTRAINT ck_jobs_pause_reason CHECK (pause_reason IN ('requested', 'interrupted', 'canary_failed'))
);
CREATE INDEX ix_jobs_state ON jobs (state);

CREATE TABLE feed_state (
    id INTEGER NOT NULL,
    position BIGINT DEFAULT 0 NOT NULL,
    visit TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_feed_state PRIMARY KEY (id),
    CONSTRAINT ck_feed_state_one_row CHECK (id = 1)
);
INSERT INTO feed_state (id) VALUES (1);

CREATE TABLE installation (
    id INTEGER NOT NULL,
    uid TEXT DEFAULT '' NOT NULL,
    name TEXT DEFAULT '' NOT NULL,
    place TEXT,
    older_since {moment},
    last_practice_id INTEGER DEFAULT 0 NOT NULL,
    is_sandbox_only BOOLEAN DEFAULT {false} NOT NULL,
    CONSTRAINT pk_installation PRIMARY KEY (id),
    CONSTRAINT ck_installation_one_row CHECK (id = 1)
);
INSERT INTO installation (id) VALUES (1);

CREATE TABLE key_ring_keys (
    key_id TEXT NOT NULL,
    check_value TEXT NOT NULL,
    created_at {moment} NOT NULL,
    CONSTRAINT pk_key_ring_keys PRIMARY KEY (key_id)
);

CREATE TABLE connection_shares (
    server TEXT NOT NULL,
    node_id TEXT NOT NULL,
    connections INTEGER NOT NULL,
    wanted INTEGER NOT NULL,
    most INTEGER NOT NULL,
    CONSTRAINT pk_connection_shares PRIMARY KEY (server, node_id)
);

CREATE TABLE nodes (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    runs_worker BOOLEAN NOT NULL,
    key_checks TEXT NOT NULL,
    started_at {moment} NOT NULL,
    live_until {moment} NOT NULL,
    CONSTRAINT pk_nodes PRIMARY KEY (id)
);

CREATE TABLE payment_providers (
    id {serial} NOT NULL,
    code TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    logo_url TEXT,
    website_url TEXT,
    documentation_url TEXT,
    api_base_url TEXT,
    sandbox_api_base_url TEXT,
    supported_currencies {json},
    supported_payment_methods {json},
    supported_features {json},
    requires_public_key BOOLEAN DEFAULT {true} NOT NULL,
    requires_secret_key BOOLEAN DEFAULT {true} NOT NULL,
    requires_webhook_secret BOOLEAN DEFAULT {false} NOT NULL,
    config_schema {json},
    status TEXT DEFAULT 'active' NOT NULL,
    is_default BOOLEAN DEFAULT {false} NOT NULL,
    priority INTEGER DEFAULT 0 NOT NULL,
    integration_type TEXT DEFAULT 'built_in' NOT NULL,
    handler_module TEXT,
    created_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    created_by TEXT,
    CONSTRAINT pk_payment_providers PRIMARY KEY (id),
    CONSTRAINT uq_payment_providers_code UNIQUE (code),
    CONSTRAINT ck_payment_providers_status CHECK (status IN ('active', 'inactive', 'deprecated', 'beta')),
    CONSTRAINT ck_payment_providers_integration_type CHECK (integration_type IN ('built_in', 'plugin', 'custom'))
);

CREATE TABLE routing_outcomes (
    provider_code TEXT NOT NULL,
    environment TEXT NOT NULL,
    currency TEXT NOT NULL,
    method TEXT NOT NULL,
    period BIGINT NOT NULL,
    paid BIGINT NOT NULL,
    declined BIGINT NOT NULL,
    CONSTRAINT pk_routing_outcomes PRIMARY KEY (provider_code, environment, currency, method)
);

CREATE TABLE routing_fees (
    provider_code TEXT NOT NULL,
    environment TEXT NOT NULL,
    currency TEXT NOT NULL,
    method TEXT NOT NULL,
    band INTEGER NOT NULL,
    period BIGINT NOT NULL,
    payments BIGINT NOT NULL,
    share_ppm BIGINT NOT NULL,
    CONSTRAINT pk_routing_fees PRIMARY KEY (provider_code, environment, currency, method, band)
);

CREATE TABLE routing_health (
    provider_code TEXT NOT NULL,
    environment TEXT NOT NULL,
    version BIGINT NOT NULL,
    state TEXT NOT NULL,
    changed_at {moment} NOT NULL,
    CONSTRAINT pk_routing_health PRIMARY KEY (provider_code, environment)
);

CREATE TABLE schema_readers (
    tree TEXT NOT NULL,
    oldest TEXT NOT NULL,
    CONSTRAINT pk_schema_readers PRIMARY KEY (tree)
);

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

CREATE TABLE event_deliveries (
    feed_id {bigkey} NOT NULL,
    practice_id INTEGER DEFAULT 0 NOT NULL,
    payment_id TEXT,
    state TEXT DEFAULT 'pending' NOT NULL,
    tries INTEGER DEFAULT 0 NOT NULL,
    next_try_at {moment},
    last_status INTEGER,
    last_error TEXT,
    delivered_at {moment},
    abandoned_at {moment},
    resolved_at {moment},
    claimed_by TEXT,
    claimed_until {moment},
    CONSTRAINT pk_event_deliveries PRIMARY KEY (feed_id),
    CONSTRAINT ck_event_deliveries_state CHECK (state IN ('pending', 'delivered', 'abandoned')),
    CONSTRAINT fk_event_deliveries_feed_id FOREIGN KEY(feed_id) REFERENCES event_feed (id)
);
CREATE INDEX ix_event_deliveries_claimed_by ON event_deliveries (claimed_by);
CREATE INDEX ix_event_deliveries_payment_id ON event_deliveries (payment_id);
CREATE INDEX ix_event_deliveries_pending_payment_id_feed_id ON event_deliveries (payment_id, feed_id) WHERE state = 'pending';
CREATE INDEX ix_event_deliveries_pending_practice_id_next_try_at ON event_deliveries (practice_id, next_try_at) WHERE state = 'pending';
CREATE INDEX ix_event_deliveries_state_next_try_at ON event_deliveries (state, next_try_at);

CREATE TABLE job_practices (
    job_id {bigkey} NOT NULL,
    practice_id INTEGER NOT NULL,
    state TEXT NOT NULL,
    is_canary BOOLEAN DEFAULT {false} NOT NULL,
    tries INTEGER DEFAULT 0 NOT NULL,
    step TEXT,
    node TEXT,
    code TEXT,
    detail TEXT,
    due_at {moment},
    started_at {moment},
    ended_at {moment},
    CONSTRAINT pk_job_practices PRIMARY KEY (job_id, practice_id),
    CONSTRAINT fk_job_practices_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE,
    CONSTRAINT ck_job_practices_state CHECK (state IN ('waiting', 'running', 'succeeded', 'failed', 'canceled'))
);
CREATE INDEX ix_job_practices_job_id_state ON job_practices (job_id, state);
CREATE INDEX ix_job_practices_practice_id ON job_practices (practice_id);
CREATE UNIQUE INDEX ix_job_practices_running ON job_practices (practice_id) WHERE state = 'running';

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

CREATE TABLE payment_records (
    payment_id TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    sealed TEXT NOT NULL,
    recorded_at {moment} NOT NULL,
    CONSTRAINT pk_payment_records PRIMARY KEY (payment_id)
);
CREATE INDEX ix_payment_records_practice_id_recorded_at ON payment_records (practice_id, recorded_at);

CREATE TABLE practices (
    id {serial} NOT NULL,
    name TEXT NOT NULL,
    default_currency_id INTEGER NOT NULL,
    cluster TEXT DEFAULT 'default' NOT NULL,
    database_name TEXT NOT NULL,
    schema_version TEXT DEFAULT '' NOT NULL,
    state TEXT NOT NULL,
    wrapped_data_key TEXT DEFAULT '' NOT NULL,
    created_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    country TEXT,
    time_zone TEXT DEFAULT 'UTC' NOT NULL,
    external_id TEXT,
    epoch TEXT DEFAULT '' NOT NULL,
    mark_position BIGINT DEFAULT 0 NOT NULL,
    mark_event_id TEXT,
    mark_payment_id TEXT,
    behind TEXT,
    closed_at {moment},
    runs_out_at {moment},
    run_out_ended_at {moment},
    deleted_at {moment},
    deleted_by TEXT,
    external_id_hash TEXT,
    CONSTRAINT pk_practices PRIMARY KEY (id),
    CONSTRAINT uq_practices_cluster_database_name UNIQUE (cluster, database_name),
    CONSTRAINT ck_practices_state CHECK (state IN ('provisioning', 'active', 'suspended', 'closed', 'deleted')),
    CONSTRAINT ck_practices_behind CHECK (behind IN ('epoch', 'birthplace', 'mark')),
    CONSTRAINT fk_practices_default_currency_id FOREIGN KEY(default_currency_id) REFERENCES currencies (id)
);
CREATE UNIQUE INDEX ix_practices_external_id ON practices (external_id);

CREATE TABLE provider_currency_support (
    id {serial} NOT NULL,
    provider_id INTEGER NOT NULL,
    currency_code TEXT NOT NULL,
    is_recommended BOOLEAN DEFAULT {false} NOT NULL,
    transaction_fee_percent INTEGER,
    transaction_fee_fixed BIGINT,
    min_amount BIGINT,
    max_amount BIGINT,
    is_active BOOLEAN DEFAULT {true} NOT NULL,
    created_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_provider_currency_support PRIMARY KEY (id),
    CONSTRAINT provider_currency_unique UNIQUE (provider_id, currency_code),
    CONSTRAINT ck_provider_currency_support_fee_percent CHECK (transaction_fee_percent BETWEEN 0 AND 1000000),
    CONSTRAINT ck_provider_currency_support_amounts CHECK (transaction_fee_fixed >= 0 AND min_amount >= 0 AND max_amount >= 0),
    CONSTRAINT fk_provider_currency_support_provider_id FOREIGN KEY(provider_id) REFERENCES payment_providers (id)
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

CREATE TABLE api_keys (
    id {serial} NOT NULL,
    kind TEXT NOT NULL,
    practice_id INTEGER,
    name TEXT DEFAULT '' NOT NULL,
    key_hash TEXT NOT NULL,
    last4 TEXT NOT NULL,
    scopes {json},
    created_at {moment} DEFAULT CURRENT_TIMESTAMP NOT NULL,
    revoked_at {moment},
    CONSTRAINT pk_api_keys PRIMARY KEY (id),
    CONSTRAINT fk_api_keys_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id),
    CONSTRAINT uq_api_keys_key_hash UNIQUE (key_hash),
    CONSTRAINT ck_api_keys_kind CHECK (kind IN ('owner', 'practice', 'publishable')),
    CONSTRAINT ck_api_keys_practice_bound CHECK ((kind = 'owner') = (practice_id IS NULL))
);

CREATE TABLE practice_backups (
    practice_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    place TEXT NOT NULL,
    size BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    made_at {moment} NOT NULL,
    is_restored BOOLEAN NOT NULL,
    CONSTRAINT pk_practice_backups PRIMARY KEY (practice_id),
    CONSTRAINT fk_practice_backups_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id) ON DELETE CASCADE
);
CREATE INDEX ix_practice_backups_made_at ON practice_backups (made_at);

CREATE TABLE practice_leases (
    practice_id INTEGER NOT NULL,
    lease_until {moment} NOT NULL,
    visit_due_at {moment},
    claimed_by TEXT,
    claimed_until {moment},
    relays_waiting INTEGER DEFAULT 0 NOT NULL,
    oldest_relay_at {moment},
    CONSTRAINT pk_practice_leases PRIMARY KEY (practice_id),
    CONSTRAINT fk_practice_leases_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id)
);
CREATE INDEX ix_practice_leases_claimed_by ON practice_leases (claimed_by);
CREATE INDEX ix_practice_leases_lease_until ON practice_leases (lease_until);
CREATE INDEX ix_practice_leases_visit_due_at ON practice_leases (visit_due_at);

CREATE TABLE practice_moves (
    to_database TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    to_cluster TEXT NOT NULL,
    from_cluster TEXT NOT NULL,
    kept TEXT NOT NULL,
    started_at {moment} NOT NULL,
    moved_at {moment},
    refused_ms INTEGER,
    CONSTRAINT pk_practice_moves PRIMARY KEY (to_database),
    CONSTRAINT fk_practice_moves_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id) ON DELETE CASCADE
);
CREATE INDEX ix_practice_moves_practice_id ON practice_moves (practice_id);

CREATE TABLE practice_rollouts (
    practice_id INTEGER NOT NULL,
    phase TEXT NOT NULL,
    moving_to TEXT,
    field_hash TEXT,
    writing_hash TEXT,
    field_detail TEXT,
    compared_with TEXT,
    moving_since {moment},
    next_try_at {moment},
    checked_at {moment},
    writing_until {moment},
    field_state TEXT DEFAULT 'unknown' NOT NULL,
    field_due INTEGER DEFAULT 0 NOT NULL,
    tries INTEGER DEFAULT 0 NOT NULL,
    agreements BIGINT DEFAULT 0 NOT NULL,
    moved_at {moment} NOT NULL,
    CONSTRAINT pk_practice_rollouts PRIMARY KEY (practice_id),
    CONSTRAINT ck_practice_rollouts_phase CHECK (phase IN ('legacy', 'shadow', 'live', 'closed')),
    CONSTRAINT ck_practice_rollouts_moving_to CHECK (moving_to IN ('legacy', 'shadow', 'live', 'closed')),
    CONSTRAINT ck_practice_rollouts_field_state CHECK (field_state IN ('unknown', 'in_sync', 'pending', 'conflict', 'blocked')),
    CONSTRAINT fk_practice_rollouts_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id)
);
CREATE INDEX ix_practice_rollouts_next_try_at ON practice_rollouts (next_try_at);
CREATE INDEX ix_practice_rollouts_phase ON practice_rollouts (phase);

CREATE TABLE rollout_decisions (
    practice_id INTEGER NOT NULL,
    reference TEXT NOT NULL,
    at {moment} NOT NULL,
    CONSTRAINT pk_rollout_decisions PRIMARY KEY (practice_id, reference),
    CONSTRAINT fk_rollout_decisions_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id)
);
CREATE INDEX ix_rollout_decisions_at ON rollout_decisions (at);

CREATE TABLE rollout_differences (
    id {bigserial} NOT NULL,
    practice_id INTEGER NOT NULL,
    reference TEXT NOT NULL,
    reason TEXT NOT NULL,
    environment TEXT NOT NULL,
    currency TEXT NOT NULL,
    detail TEXT NOT NULL,
    amount BIGINT,
    payment_method TEXT,
    legacy_provider TEXT,
    our_provider TEXT,
    at {moment} NOT NULL,
    CONSTRAINT pk_rollout_differences PRIMARY KEY (id),
    CONSTRAINT uq_rollout_differences_practice_id_reference UNIQUE (practice_id, reference),
    CONSTRAINT ck_rollout_differences_reason CHECK (reason IN ('other_default', 'other_order', 'other_strategy', 'provider_failing', 'not_configured', 'not_enabled', 'currency_missing', 'limits', 'method', 'environment', 'provider_unavailable', 'other_requirement', 'not_in_sync', 'legacy_chose_nothing', 'we_chose_nothing')),
    CONSTRAINT ck_rollout_differences_environment CHECK (environment IN ('sandbox', 'production')),
    CONSTRAINT fk_rollout_differences_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id)
);
CREATE INDEX ix_rollout_differences_at ON rollout_differences (at);
CREATE INDEX ix_rollout_differences_reason ON rollout_differences (reason);

CREATE TABLE erasures (
    id TEXT NOT NULL,
    practice_id INTEGER NOT NULL,
    digests {json} NOT NULL,
    asked_by TEXT NOT NULL,
    asked_at {moment} NOT NULL,
    ended_at {moment},
    CONSTRAINT pk_erasures PRIMARY KEY (id)
);
CREATE INDEX ix_erasures_open ON erasures (practice_id) WHERE ended_at IS NULL;
CREATE INDEX ix_erasures_practice_id ON erasures (practice_id);

CREATE TABLE field_readers (
    caller TEXT NOT NULL,
    reads BIGINT NOT NULL,
    first_at {moment} NOT NULL,
    last_at {moment} NOT NULL,
    CONSTRAINT pk_field_readers PRIMARY KEY (caller)
);

CREATE TABLE field_read_reports (
    id INTEGER NOT NULL,
    first_at {moment} NOT NULL,
    last_at {moment} NOT NULL,
    CONSTRAINT pk_field_read_reports PRIMARY KEY (id),
    CONSTRAINT ck_field_read_reports_one_row CHECK (id = 1)
);

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

CREATE TABLE retention_marks (
    kind TEXT NOT NULL,
    reached TEXT DEFAULT '' NOT NULL,
    removed BIGINT DEFAULT 0 NOT NULL,
    ran_at {moment} NOT NULL,
    CONSTRAINT pk_retention_marks PRIMARY KEY (kind),
    CONSTRAINT ck_retention_marks_kind CHECK (kind IN ('webhooks', 'responses', 'events', 'audit'))
);

CREATE TABLE practice_retention (
    practice_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    days INTEGER NOT NULL,
    CONSTRAINT pk_practice_retention PRIMARY KEY (practice_id, kind),
    CONSTRAINT ck_practice_retention_kind CHECK (kind IN ('webhooks', 'responses', 'events', 'audit')),
    CONSTRAINT fk_practice_retention_practice_id FOREIGN KEY(practice_id) REFERENCES practices (id) ON DELETE CASCADE
);
