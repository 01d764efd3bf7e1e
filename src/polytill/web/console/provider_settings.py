"""One provider of a practice: the form for its keys, the test, the webhook, on and off, and the environment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import Response

from polytill.domain.errors import CallerError, Invalid, NotFound, invalid
from polytill.domain.secret import Secret, without_secrets
from polytill.domain.states import Environment
from polytill.domain.typed_amounts import TypedAmountError, typed_whole
from polytill.flows.admin import credentials, key_tests, provider_configs
from polytill.flows.admin.credentials import CREDENTIALS, Keys
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.handlers import handler_or_reason
from polytill.flows.provider_calls import hook_url
from polytill.providers.contract import Handler, WebhookProof
from polytill.storage import overview
from polytill.storage.catalog import ProviderEntry
from polytill.storage.provider_configs import Configuration, Opened, open_credentials
from polytill.web.api.models.provider_configs import defaults_of, prepared_environments
from polytill.web.console.flashes import Done
from polytill.web.console.pages import EXPECTED, Form, errors_by_field, page_router
from polytill.web.console.sessions import PracticeAdmin, PracticeViewer, PracticeVisitor
from polytill.web.words import Said, Told

router = page_router("/practice/{practice_id}/providers/{code}")

MAX_KEY = 500
MOST_SETTING = 10**15


async def _entry(visitor: PracticeVisitor, code: str) -> tuple[ProviderEntry, type[Handler]]:
    entry = (await visitor.context.catalog()).get(code)
    if entry is None:
        raise NotFound
    handler, _ = handler_or_reason(visitor.context, entry)
    if handler is None:
        raise NotFound
    return entry, handler


async def _configuration(visitor: PracticeVisitor, code: str) -> Configuration | None:
    return (await visitor.context.configured(visitor.db)).live.get(code)


def _held(visitor: PracticeVisitor, configuration: Configuration | None, environment: Environment) -> Opened | None:
    kept = configuration.newest(environment) if configuration else None
    return open_credentials(visitor.db.data_key, configuration.provider_code, kept) if configuration and kept else None


# ── The form ──


def _keys(form: Form, handler: type[Handler], held: Opened | None) -> Keys:
    """Read the credentials of a form. An empty field leaves the stored value; a page never contains a secret."""
    for name in CREDENTIALS:
        if len(form.text(name)) > MAX_KEY:
            raise invalid(f"/{name}", "This is too long for a key.", reason="too_long_for_a_key")
    config: dict[str, Any] = {}
    for name, spec in handler.config_schema.get("properties", {}).items():
        text = form.text(f"config-{name}")
        before = held.config.get(name) if held else None
        if spec.get("type") == "boolean":
            config[name] = form.has(f"config-{name}")
        elif text:
            config[name] = _whole(f"/config/{name}", text) if spec.get("type") == "integer" else text
        elif isinstance(before, Secret) and spec.get("secret"):
            config[name] = before.reveal()
    secret, webhook = form.text("secretKey"), form.text("webhookSecret")
    return Keys(
        form.text("publicKey") or None,
        Secret(secret) if secret else None,
        Secret(webhook) if webhook else None,
        config if config or (held and held.config) else None,
    )


def _whole(pointer: str, text: str) -> int:
    try:
        return typed_whole(text, -MOST_SETTING, MOST_SETTING)
    except TypedAmountError:
        raise invalid(pointer, "This must be a whole number.", reason="whole_number") from None


def _environment(form: Form) -> Environment:
    try:
        return Environment(form.text("environment") or "sandbox")
    except ValueError:
        raise invalid("/environment", "The environment must be sandbox or production.", reason="shape_choice") from None


async def _page(visitor: PracticeVisitor, code: str, **more: Any) -> Response:
    entry, handler = await _entry(visitor, code)
    configuration = await _configuration(visitor, code)
    if configuration is None and entry.status not in provider_configs.NEW_ALLOWED:
        raise NotFound
    snapshot = await visitor.context.configured(visitor.db)
    values: dict[str, Any] = {"shown": None}
    if configuration is not None:
        values = {
            "shown": credentials.credential_view(visitor.db, configuration, configuration.active),
            "delivery": await overview.last_webhook(visitor.db, configuration.id, configuration.environment),
            "hook": hook_url(visitor.context, configuration.hook_token),
            "default_for": defaults_of(snapshot, configuration),
            "last_tests": await key_tests.last_tests(visitor.db, code),
            "prepared": prepared_environments(configuration),
        }
    return visitor.page(
        "practice/provider.html",
        entry=entry,
        handler=handler,
        configuration=configuration,
        currency=snapshot.currency,
        # Whether staff must register our address at the provider.
        registers_webhook=handler.webhook_proof is not WebhookProof.none and not handler.webhook_with_each_call,
        **{"tested": None, **values, **more},
    )


@router.get("")
async def show(visitor: PracticeViewer, code: str) -> Response:
    """Show the settings of one provider."""
    return await _page(visitor, code)


def _safe(form: Form, errors: dict[str, Said]) -> dict[str, str]:
    """The values that the form may show again: no secrets, and nothing that looks like one in another field."""
    given = {"environment": form.text("environment")}
    public = form.text("publicKey")
    if "publicKey" not in errors and without_secrets(public) == public:
        given["publicKey"] = public
    return given


@router.post("")
async def save(visitor: PracticeAdmin, code: str) -> Response:
    """Save the form. A new configuration starts switched off, so that its keys can be tested before customers use them."""
    form = visitor.form
    _, handler = await _entry(visitor, code)
    before = await _configuration(visitor, code)
    try:
        environment = before.environment if before else _environment(form)
        keys = _keys(form, handler, _held(visitor, before, environment))
        currencies = form.many("currency")
        if not currencies:
            raise invalid("/supportedCurrencies", "Choose at least one currency.", reason="choose_a_currency")
        wish = Wish(
            code,
            None if before else environment,
            keys,
            supported_currencies=currencies,
            is_enabled=None if before else False,
            configured_by=visitor.person.id,
        )
        patch = before is not None
        await provider_configs.configure(visitor.context, visitor.practice_id, wish, visitor.actor, patch)
    except EXPECTED as error:
        errors = _by_field(error)
        return await _page(visitor, code, error=error, errors=errors, given=_safe(form, errors))
    return visitor.see(f"/providers/{code}", Done.saved if before or not handler.keys else Done.keys_saved)


def _by_field(error: CallerError) -> dict[str, Said]:
    found = errors_by_field(error)
    return {("supportedCurrencies" if name.startswith("supportedCurrencies") else name): found[name] for name in found}


@router.post("/check")
async def check(visitor: PracticeAdmin, code: str) -> Response:
    """Check the kind and environment of a key as soon as it is pasted. Saves nothing."""
    form = visitor.form
    entry, handler = await _entry(visitor, code)
    name = form.text("field")
    if name not in CREDENTIALS:
        raise NotFound
    text, problem = form.text(name)[:MAX_KEY], ""
    if text:
        given = Keys(text) if name == "publicKey" else Keys(**{CREDENTIALS[name]: Secret(text)})  # type: ignore[arg-type]
        try:
            credentials.check_keys(handler, entry, _environment(form), given, None)
        except Invalid as error:
            problem = visitor.words.told(errors_by_field(error).get(name, Told("")))
    return visitor.page("practice/key_check.html", filled=bool(text), problem=problem)


# ── Test and first webhook ──


@router.post("/test")
async def test(visitor: PracticeAdmin, code: str) -> Response:
    """Test the keys at the provider. Moves no money."""
    result, _ = await provider_configs.test_configuration(visitor.context, visitor.practice_id, code, visitor.actor)
    return await _page(visitor, code, tested=result)


@router.get("/last-webhook")
async def last_webhook(visitor: PracticeViewer, code: str) -> Response:
    """The indicator of the first webhook; the page reloads it until there is one."""
    configuration = await _configuration(visitor, code)
    if configuration is None:
        raise NotFound
    last = await overview.last_webhook(visitor.db, configuration.id, configuration.environment)
    return visitor.page("practice/last_webhook.html", delivery=last, code=code)


# ── On and off, default, remove, environment ──


@router.post("/state")
async def change_state(visitor: PracticeAdmin, code: str) -> Response:
    """Switch the provider on or off, make it the default, or remove it."""
    action = visitor.form.text("action")
    before = await _configuration(visitor, code)
    wishes = {
        "enable": Wish(code, is_enabled=True),
        "disable": Wish(code, is_enabled=False),
        "default": Wish(code, is_default=True),
        "no_default": Wish(code, is_default=False),
    }
    if before is None or action not in (*wishes, "remove"):
        raise NotFound
    if action == "remove":
        await provider_configs.remove(visitor.context, visitor.practice_id, code, visitor.actor)
        return visitor.see("/providers", Done.removed)
    wish = replace(wishes[action], configured_by=before.configured_by)
    await provider_configs.configure(visitor.context, visitor.practice_id, wish, visitor.actor, patch=True)
    return visitor.see(f"/providers/{code}", Done[action])


@router.post("/credentials/{environment}")
async def prepare(visitor: PracticeAdmin, code: str, environment: Environment) -> Response:
    """Save the keys of the other environment. Payments do not use them yet."""
    _, handler = await _entry(visitor, code)
    try:
        keys = _keys(visitor.form, handler, _held(visitor, await _configuration(visitor, code), environment))
        await provider_configs.prepare_credentials(
            visitor.context, visitor.practice_id, code, environment, keys, visitor.actor
        )
    except EXPECTED as error:
        errors = {f"{environment.value}-{name}": text for name, text in _by_field(error).items()}
        return await _page(visitor, code, error=error, errors=errors)
    return visitor.see(f"/providers/{code}", Done.prepared)


@router.post("/activate/{environment}")
async def activate(visitor: PracticeAdmin, code: str, environment: Environment) -> Response:
    """Activate an environment whose keys are saved. Production needs an explicit confirmation."""
    if environment is Environment.production and not visitor.form.has("understood"):
        errors = {"understood": visitor.words("provider.tick_box")}
        return await _page(visitor, code, status=422, errors=errors)
    try:
        _, tested = await provider_configs.switch(
            visitor.context, visitor.practice_id, code, environment, visitor.actor
        )
    except key_tests.LiveKeysRefused as error:
        return await _page(visitor, code, error=error, tested=error.test)
    except EXPECTED as error:
        return await _page(visitor, code, error=error)
    done = Done.production_unchecked if tested and not tested.reached else Done[environment.value]
    return visitor.see(f"/providers/{code}", done)
