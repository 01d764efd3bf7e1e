"""What an import can find in a host application's ``paymentProviders`` field, and how serious each finding is."""

from __future__ import annotations

from enum import StrEnum


class Severity(StrEnum):
    """``wrong``: the practice is held up until its data or the mapping is corrected. ``ambiguous``: there are two ways
    to read it, and the mapping must choose one; the practice is held up, too. ``note``: it was read, and this is worth
    knowing."""

    wrong = "wrong"
    ambiguous = "ambiguous"
    note = "note"


class LegacyFinding(StrEnum):
    """One kind of finding about a practice's row and its field."""

    # The field as a whole
    not_text = "not_text"
    not_json = "not_json"
    too_large = "too_large"
    too_deep = "too_deep"
    shape_unknown = "shape_unknown"
    field_empty = "field_empty"
    encoded_twice = "encoded_twice"
    # Members and values
    member_unknown = "member_unknown"
    member_twice = "member_twice"
    member_not_needed = "member_not_needed"
    member_empty = "member_empty"
    values_contradict = "values_contradict"
    value_unclear = "value_unclear"
    value_converted = "value_converted"
    # Providers
    provider_unknown = "provider_unknown"
    provider_twice = "provider_twice"
    provider_empty = "provider_empty"
    provider_renamed = "provider_renamed"
    no_keys = "no_keys"
    two_defaults = "two_defaults"
    default_elsewhere = "default_elsewhere"
    enabled_missing = "enabled_missing"
    currency_unknown = "currency_unknown"
    currencies_missing = "currencies_missing"
    currencies_empty = "currencies_empty"
    settings_of_other_environment = "settings_of_other_environment"
    # Environments and keys
    environment_unknown = "environment_unknown"
    environment_from_key = "environment_from_key"
    active_environment_unknown = "active_environment_unknown"
    key_of_other_environment = "key_of_other_environment"
    key_encrypted = "key_encrypted"
    key_not_decrypted = "key_not_decrypted"
    key_trimmed = "key_trimmed"
    key_not_text = "key_not_text"
    key_not_valid = "key_not_valid"
    key_refused = "key_refused"
    key_limited = "key_limited"
    key_not_checked = "key_not_checked"
    configuration_refused = "configuration_refused"
    configuration_differs = "configuration_differs"
    # The row
    row_not_readable = "row_not_readable"
    external_id_missing = "external_id_missing"
    external_id_not_valid = "external_id_not_valid"
    external_id_twice = "external_id_twice"
    name_not_valid = "name_not_valid"
    practice_currency_not_valid = "practice_currency_not_valid"
    practice_currency_differs = "practice_currency_differs"
    country_not_valid = "country_not_valid"
    time_zone_not_valid = "time_zone_not_valid"


class ImportAction(StrEnum):
    """What an import does with a practice: create it, add configurations to it, nothing, or hold it up. ``failed``: an
    error came in between, and running the import again tries it again."""

    create = "create"
    add = "add"
    nothing = "nothing"
    held_up = "held_up"
    failed = "failed"


_F = LegacyFinding
AMBIGUOUS = frozenset(
    {
        *(_F.member_twice, _F.values_contradict, _F.value_unclear, _F.provider_twice, _F.currencies_empty),
        *(_F.environment_unknown, _F.active_environment_unknown),
    }
)
NOTES = frozenset(
    {
        *(_F.field_empty, _F.encoded_twice, _F.member_not_needed, _F.member_empty, _F.value_converted),
        *(_F.provider_empty, _F.provider_renamed, _F.default_elsewhere, _F.enabled_missing, _F.currencies_missing),
        *(
            _F.settings_of_other_environment,
            _F.environment_from_key,
            _F.key_trimmed,
            _F.key_not_checked,
            _F.key_limited,
        ),
        *(_F.configuration_differs, _F.no_keys),
    }
)


def severity_of(finding: LegacyFinding) -> Severity:
    """How serious a kind of finding is."""
    if finding in AMBIGUOUS:
        return Severity.ambiguous
    return Severity.note if finding in NOTES else Severity.wrong
