"""The files of an export that are about payments: each kind of record with its columns."""

from __future__ import annotations

from polytill.storage.export_columns import Part, part

_CURRENCY_OF_PAYMENT = "(SELECT~p.currency~FROM~payments~p~WHERE~p.id=t.payment_id)"

MONEY: tuple[Part, ...] = (
    part(
        "practice",
        "t.id",
        "The practice itself: one record.",
        """
        id integer The practice's id.
        name text Its name.
        default_currency=(SELECT~c.code~FROM~currencies~c~WHERE~c.id=t.default_currency_id) text Its default currency.
        country text ISO 3166-1 alpha-2.
        time_zone text IANA name.
        checkout_color text `#rrggbb`, if it was chosen.
        created_at moment When it was created.
        updated_at moment When it was last changed.
        """,
        "practices",
    ),
    part(
        "payments",
        "t.id",
        "What customers owe or paid. All amounts are integers in minor units of `currency`.",
        """
        id text The payment's id.
        number text Its number for people.
        environment text `sandbox` or `production`.
        status text See [payments](api/payments.md).
        currency text ISO 4217.
        amount integer What is to be paid.
        amount_authorized integer What was authorized.
        amount_captured integer What was captured.
        amount_refunded integer What was refunded.
        refund_reserved integer What refunds in progress may take.
        amount_lost integer What was lost to disputes.
        amount_disputed integer What is in open chargebacks.
        duplicate_refunded integer What was returned of duplicate payments.
        capture_mode text `automatic` or `manual`.
        payment_method text For example `card`.
        method_details json What a direct charge was made with.
        provider_code text The provider that has the payment.
        provider_transaction_id text Its id there.
        provider_fee integer The provider's fee in minor units of `providerFeeCurrency`.
        provider_fee_currency text The currency of the fee.
        provider_response json The provider's last answer, without its secret fields.
        customer_email text The customer's e-mail address.
        customer_name text The customer's name.
        customer_phone text The customer's phone number.
        description text As it was given.
        reference text The host application's own reference.
        metadata json The host application's own values.
        return_url text Where the customer returns to.
        failure_reason text Why it failed.
        cancel_reason text Why it was canceled.
        pinned_provider flag Whether the caller chose the provider.
        save_method flag Whether the payment saves the method.
        saved_method_id text The saved method that it charged.
        idempotency_key text The key of the request that created it.
        created_by text Who created it.
        certainty text Of a payment from before polytill: how certain it is.
        doubts json Why it is uncertain.
        erasure text The erasure that removed the customer's personal data.
        expires_at moment When it expires unless it is paid.
        created_at moment When it was created.
        updated_at moment When it was last changed.
        """,
    ),
    part(
        "attempts",
        "t.id",
        "The tries to collect a payment, one at one provider each.",
        """
        id text The attempt's id, which providers know as our reference.
        payment_id text Its payment.
        environment text `sandbox` or `production`.
        number integer Its number among the attempts of the payment.
        provider_code text The provider.
        config_id integer The provider configuration.
        credential_version integer The version of the keys that it was made with.
        state text For example `succeeded`.
        currency text ISO 4217.
        amount integer In minor units of `currency`.
        provider_transaction_id text Its id at the provider.
        reason text Why it did not succeed.
        raw_code text The provider's own code.
        detail text The provider's own sentence.
        unclear_since moment Since when the provider's answers are not understood.
        created_at moment When it was made.
        updated_at moment When it was last changed.
        """,
        "payment_attempts",
    ),
    part(
        "identifiers",
        "t.attempt_id, t.kind, t.value",
        "The identifiers of attempts at providers, on statements and on receipts.",
        """
        payment_id text The payment.
        attempt_id text The attempt.
        environment text `sandbox` or `production`.
        kind text For example `receipt`.
        value text The identifier.
        created_at moment When it became known.
        """,
        "payment_identifiers",
    ),
    part(
        "refunds",
        "t.id",
        "Money returned to customers.",
        """
        id text The refund's id.
        payment_id text Its payment.
        attempt_id text The attempt whose money it returns.
        environment text `sandbox` or `production`.
        state text For example `succeeded`.
        origin text `api`, or `provider` if it was made there.
        currency text ISO 4217.
        amount integer In minor units of `currency`.
        booked integer How much of it is in the payment's `amountRefunded`.
        booked_duplicate integer How much of it is in the payment's `duplicateRefunded`.
        is_reversal flag Whether the provider itself took the money.
        reason text Why it was requested.
        failure_reason text Why it failed.
        raw_code text The provider's own code.
        detail text The provider's own sentence.
        provider_refund_id text Its id at the provider.
        provider_dispute_id text The dispute that the provider paid with it.
        provider_response json The provider's last answer, without its secret fields.
        idempotency_key text The key of the request that created it.
        created_by text Who created it.
        unclear_since moment Since when the provider's answers are not understood.
        created_at moment When it was created.
        updated_at moment When it was last changed.
        """,
    ),
    part(
        "operations",
        "t.id",
        "Captures and cancellations of authorized payments.",
        f"""
        id text The operation's id.
        payment_id text Its payment.
        attempt_id text The attempt.
        environment text `sandbox` or `production`.
        kind text `capture` or `cancel`.
        state text For example `succeeded`.
        currency={_CURRENCY_OF_PAYMENT} text ISO 4217.
        amount integer In minor units of `currency`; empty for the whole amount.
        reason text Why it did not succeed.
        raw_code text The provider's own code.
        detail text The provider's own sentence.
        idempotency_key text The key of the request that created it.
        created_by text Who created it.
        created_at moment When it was created.
        updated_at moment When it was last changed.
        """,
        "payment_operations",
    ),
    part(
        "disputes",
        "t.id",
        "Inquiries and chargebacks.",
        """
        id text The dispute's id.
        payment_id text Its payment.
        attempt_id text The attempt whose money it is about.
        environment text `sandbox` or `production`.
        kind text `chargeback` or `inquiry`.
        state text For example `open`.
        provider_state text The provider's own word for the state.
        provider_dispute_id text Its id at the provider.
        currency text ISO 4217.
        amount integer In minor units of `currency`.
        booked integer How much of it is booked as lost.
        funds_withdrawn flag Whether the provider took the money.
        funds_returned flag Whether what it took came back.
        counted_as text What staff decided about it.
        reason text Why, in our words.
        provider_reason text Why, in the provider's words.
        due_at text When the answer is due, as the provider says it.
        created_at moment When it became known.
        updated_at moment When it was last changed.
        """,
    ),
    part(
        "ledger",
        "t.id",
        "The ledger: the lines of one entry sum to zero.",
        """
        id integer The line's number.
        entry_id text The entry.
        payment_id text The payment.
        refund_id text The refund, if it is about one.
        environment text `sandbox` or `production`.
        currency text ISO 4217.
        account text The account.
        fact text What happened.
        amount integer In minor units of `currency`: debits are positive, credits negative.
        provider_code text The provider of the entry, on one of its lines.
        method text The payment's method, on the same line.
        created_at moment When it was booked.
        """,
        "ledger_lines",
    ),
    part(
        "customers",
        "t.environment, t.email, t.phone, t.name",
        "The customers of payments: one record for each combination of address, phone number and name.",
        """
        environment text `sandbox` or `production`.
        email text The e-mail address.
        phone text The phone number.
        name text The name.
        payments integer How many payments have it.
        first_payment_at moment When the first of them was created.
        last_payment_at moment When the last of them was created.
        """,
        "(SELECT environment, customer_email AS email, customer_phone AS phone, customer_name AS name, COUNT(*) AS payments,"
        " MIN(created_at) AS first_payment_at, MAX(created_at) AS last_payment_at FROM payments"
        " WHERE COALESCE(customer_email, customer_phone, customer_name) IS NOT NULL"
        " GROUP BY environment, customer_email, customer_phone, customer_name)",
    ),
)
