"""The keys that a practice enters for a provider: what they may be, and how they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from polytill.domain.errors import FieldError, Invalid
from polytill.domain.secret import Secret
from polytill.domain.states import CredentialState, Environment
from polytill.domain.text import in_sentence
from polytill.flows.admin import key_tests
from polytill.flows.context import Practice
from polytill.flows.installation import may_use
from polytill.providers.contract import Handler
from polytill.storage.catalog import ProviderEntry
from polytill.storage.databases import PracticeDb
from polytill.storage.provider_configs import Configuration, CredentialSet, Opened, open_credentials, seal_credentials

# API name of a credential, and its column.
CREDENTIALS = {"publicKey": "public_key", "secretKey": "secret_key", "webhookSecret": "webhook_secret"}


@dataclass(frozen=True, slots=True)
class Keys:
    """Credentials from a request; None leaves one as it is (or unset)."""

    public_key: str | None = None
    secret_key: Secret | None = None
    webhook_secret: Secret | None = None
    config: dict[str, Any] | None = None

    def given(self) -> bool:
        """Whether any credential is given."""
        return any(v is not None for v in (self.public_key, self.secret_key, self.webhook_secret, self.config))


def check_keys(
    handler: type[Handler], entry: ProviderEntry, environment: Environment, keys: Keys, held: Opened | None
) -> Opened:
    """Return the complete, checked credentials for one environment: the given ones, completed by those that are stored."""
    errors: list[FieldError] = []
    values: dict[str, str | None] = {}
    required = {
        "publicKey": entry.requires_public_key,
        "secretKey": entry.requires_secret_key,
        "webhookSecret": entry.requires_webhook_secret,
    }
    for name, column in CREDENTIALS.items():
        given = getattr(keys, column)
        text = (given.reveal() if isinstance(given, Secret) else given or "").strip()
        spec = handler.keys.get(name)
        if spec is None:
            values[column] = None  # this provider has no such credential
            continue
        if not text:
            old = getattr(held, column) if held else None
            values[column] = old.reveal() if isinstance(old, Secret) else old
            if values[column] is None and required[name]:
                about = {"provider": entry.name, "key": spec.label}
                detail = f"{entry.name} needs its {in_sentence(spec.label)}."
                errors.append(FieldError(f"/{name}", detail, "key_needed", about))
            continue
        errors += key_tests.wrong_key(handler, entry.name, name, environment, text)
        values[column] = text
    config = _checked_config(handler, environment, keys.config, held, errors)
    if errors:
        is_other = all(error.reason in key_tests.OTHER_ENVIRONMENT for error in errors)
        raise Invalid(errors, code="wrong_environment" if is_other else None)
    secret, webhook = values["secret_key"], values["webhook_secret"]
    return Opened(
        environment,
        0,
        values["public_key"],
        Secret(secret) if secret else None,
        Secret(webhook) if webhook else None,
        config,
    )


def _no_remote(uri: str) -> Any:
    raise ValueError(f"schemas are not fetched: {uri}")


def _checked_config(
    handler: type[Handler],
    environment: Environment,
    given: dict[str, Any] | None,
    held: Opened | None,
    errors: list[FieldError],
) -> dict[str, Any]:
    if given is None and held is not None:
        return dict(held.config)
    given, properties = given or {}, handler.config_schema.get("properties", {})
    for name in handler.config_schema.get("required", ()):
        if name not in given:
            errors.append(
                FieldError(
                    f"/config/{name}",
                    f"{handler.name} needs its {in_sentence(properties[name].get('title', name))}.",
                    "key_needed",
                    {"provider": handler.name, "key": properties[name].get("title", name)},
                )
            )
    validator = jsonschema_rs.validator_for(handler.config_schema, retriever=_no_remote)
    for problem in validator.iter_errors(given):
        kind, path = _kind_of(problem), "".join(f"/{part}" for part in problem.instance_path)
        if kind == "required" and not path:
            continue  # reported above
        detail = f"The provider does not accept this value ({kind})."  # the library's message quotes it
        errors.append(FieldError(f"/config{path}", detail, "shape_choice" if kind == "enum" else None))
    errors += key_tests.wrong_settings(handler, environment, given)
    return {
        name: Secret(str(value)) if properties.get(name, {}).get("secret") else value for name, value in given.items()
    }


def _kind_of(problem: Any) -> str:
    path = list(problem.schema_path)
    return str(path[-1]) if path else "schema"


def credential_view(db: PracticeDb, configuration: Configuration, kept: CredentialSet) -> dict[str, Any]:
    """Return one set of credentials for display: of a secret only whether it is set, and its last four characters."""
    opened = open_credentials(db.data_key, configuration.provider_code, kept)
    shown: dict[str, Any] = {"publicKey": opened.public_key}
    for name, secret in (("secretKey", opened.secret_key), ("webhookSecret", opened.webhook_secret)):
        shown[name] = {
            "set": secret is not None,
            "last4": secret.last4 if secret else None,
            "updatedAt": kept.updated_at,
        }
    shown["config"] = {
        name: {"set": True, "last4": value.last4} if isinstance(value, Secret) else value
        for name, value in opened.config.items()
    }
    return shown


def seal(practice: Practice, code: str, opened: Opened, state: CredentialState) -> CredentialSet:
    """Seal the credentials of a provider. ``InstallationCopied`` or ``SandboxOnly`` for those of production, where none are
    used."""
    may_use(practice.context, opened.environment)
    return seal_credentials(practice.db.data_key, code, opened, state, practice.context.world)
