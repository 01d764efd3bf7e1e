"""One provider of a practice: the form for its keys, the test, the webhook, on and off, and the environment."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from fastapi import APIRouter, Request, Response

from polytill.domain.errors import CallerError, Invalid, NotFound, invalid
from polytill.domain.secret import Secret, without_secrets
from polytill.domain.states import CredentialState, Environment
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
from polytill.web.console.flashes import Done
from polytill.web.console.pages import EXPECTED, Form, PageRoute, errors_by_field, form_of, page, see, words_of
from polytill.web.console.providers import defaults_of
from polytill.web.console.sessions import OfPractice, PracticeAdmin, PracticeViewer
from polytill.web.console.texts import Said, Told

router = APIRouter(prefix="/practice/{practice_id}/providers/{code}", route_class=PageRoute, include_in_schema=False)

MAX_KEY = 500
MOST_SETTING = 10**15


async def _entry(found: OfPractice, code: str) -> tuple[ProviderEntry, type[Handler]]:
    entry = (await found.visitor.context.catalog()).get(code)
    if entry is None:
        raise NotFound
    handler, _ = handler_or_reason(found.visitor.context, entry)
    if handler is None:
        raise NotFound
    return entry, handler


async def _configuration(found: OfPractice, code: str) -> Configuration | None:
    configuration = (await found.visitor.context.configured(found.db)).configurations.get(code)
    return None if configuration is None or configuration.removed_at is not None else configuration


def _held(found: OfPractice, configuration: Configuration | None, environment: Environment) -> Opened | None:
    kept = configuration.newest(environment) if configuration else None
    return open_credentials(found.db.data_key, configuration.provider_code, kept) if configuration and kept else None


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


async def _page(request: Request, found: OfPractice, code: str, status: int = 200, **more: Any) -> Response:
    entry, handler = await _entry(found, code)
    configuration = await _configuration(found, code)
    if configuration is None and entry.status not in provider_configs.NEW_ALLOWED:
        raise NotFound
    snapshot = await found.visitor.context.configured(found.db)
    values: dict[str, Any] = {
        "shown": None,
        "delivery": None,
        "hook": "",
        "default_for": [],
        "prepared": [],
        "last_tests": {},
    }
    if configuration is not None:
        values = {
            "shown": credentials.credential_view(found.db, configuration, configuration.active),
            "delivery": await overview.last_webhook(found.db, configuration.id, configuration.environment),
            "hook": hook_url(found.visitor.context, configuration.hook_token),
            "default_for": defaults_of(snapshot, configuration),
            "last_tests": await key_tests.last_tests(found.db, code),
            "prepared": sorted(
                {s.environment.value for s in configuration.others if s.state is CredentialState.prepared}
            ),
        }
    more.setdefault("given", {})
    more.setdefault("tested", None)
    return page(
        request,
        "practice/provider.html",
        status,
        visitor=found.visitor,
        entry=entry,
        handler=handler,
        configuration=configuration,
        currency=snapshot.currency,
        has_keys=bool(handler.keys),
        registers_webhook=_registers_webhook(handler),
        **values,
        **more,
    )


def _registers_webhook(handler: type[Handler]) -> bool:
    """Whether staff must register our address at the provider."""
    return handler.webhook_proof is not WebhookProof.none and not handler.webhook_with_each_call


@router.get("")
async def show(request: Request, found: PracticeViewer, code: str) -> Response:
    """Show the settings of one provider."""
    return await _page(request, found, code)


def _safe(form: Form, errors: dict[str, Said]) -> dict[str, str]:
    """The values that the form may show again: no secrets, and nothing that looks like one in another field."""
    given = {"environment": form.text("environment")}
    public = form.text("publicKey")
    if "publicKey" not in errors and without_secrets(public) == public:
        given["publicKey"] = public
    return given


@router.post("")
async def save(request: Request, found: PracticeAdmin, code: str) -> Response:
    """Save the form. A new configuration starts switched off, so that its keys can be tested before customers use them."""
    form, visitor = form_of(request), found.visitor
    _, handler = await _entry(found, code)
    before = await _configuration(found, code)
    try:
        environment = before.environment if before else _environment(form)
        keys = _keys(form, handler, _held(found, before, environment))
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
        await provider_configs.configure(
            visitor.context, visitor.practice_id, wish, visitor.actor, patch=before is not None
        )
    except EXPECTED as error:
        errors = _by_field(error)
        return await _page(request, found, code, error.status, errors=errors, given=_safe(form, errors))
    return see(f"{visitor.door}/providers/{code}", Done.saved if before or not handler.keys else Done.keys_saved)


def _by_field(error: CallerError) -> dict[str, Said]:
    found = errors_by_field(error)
    return {("supportedCurrencies" if name.startswith("supportedCurrencies") else name): found[name] for name in found}


@router.post("/check")
async def check(request: Request, found: PracticeAdmin, code: str) -> Response:
    """Check the kind and environment of a key as soon as it is pasted. Saves nothing."""
    form = form_of(request)
    entry, handler = await _entry(found, code)
    name = form.text("field")
    if name not in CREDENTIALS:
        raise NotFound
    text, problem = form.text(name)[:MAX_KEY], ""
    if text:
        given = Keys(text) if name == "publicKey" else Keys(**{CREDENTIALS[name]: Secret(text)})  # type: ignore[arg-type]
        try:
            credentials.check_keys(handler, entry, _environment(form), given, None)
        except Invalid as error:
            problem = words_of(request).told(errors_by_field(error).get(name, Told("")))
    return page(request, "practice/key_check.html", filled=bool(text), problem=problem)


# ── Test and first webhook ──


@router.post("/test")
async def test(request: Request, found: PracticeAdmin, code: str) -> Response:
    """Test the keys at the provider. Moves no money."""
    result, _ = await provider_configs.test_configuration(
        found.visitor.context, found.visitor.practice_id, code, found.visitor.actor
    )
    return await _page(request, found, code, tested=result)


@router.get("/last-webhook")
async def last_webhook(request: Request, found: PracticeViewer, code: str) -> Response:
    """The indicator of the first webhook; the page reloads it until there is one."""
    configuration = await _configuration(found, code)
    if configuration is None:
        raise NotFound
    last = await overview.last_webhook(found.db, configuration.id, configuration.environment)
    return page(request, "practice/last_webhook.html", visitor=found.visitor, delivery=last, code=code)


# ── On and off, default, remove, environment ──


async def _done(found: OfPractice, code: str, work: Awaitable[Any], said: Done) -> Response:
    await work
    return see(f"{found.visitor.door}/providers/{code}", said)


@router.post("/state")
async def change_state(request: Request, found: PracticeAdmin, code: str) -> Response:
    """Switch the provider on or off, make it the default, or remove it."""
    visitor, action = found.visitor, form_of(request).text("action")
    before = await _configuration(found, code)
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
        return see(f"{visitor.door}/providers", Done.removed)
    wish = wishes[action]
    wish = Wish(code, is_enabled=wish.is_enabled, is_default=wish.is_default, configured_by=before.configured_by)
    work = provider_configs.configure(visitor.context, visitor.practice_id, wish, visitor.actor, patch=True)
    return await _done(found, code, work, Done[action])


@router.post("/credentials/{environment}")
async def prepare(request: Request, found: PracticeAdmin, code: str, environment: Environment) -> Response:
    """Save the keys of the other environment. Payments do not use them yet."""
    form, visitor = form_of(request), found.visitor
    _, handler = await _entry(found, code)
    try:
        keys = _keys(form, handler, _held(found, await _configuration(found, code), environment))
        work = provider_configs.prepare_credentials(
            visitor.context, visitor.practice_id, code, environment, keys, visitor.actor
        )
        return await _done(found, code, work, Done.prepared)
    except EXPECTED as error:
        errors = {f"{environment.value}-{name}": text for name, text in _by_field(error).items()}
        return await _page(request, found, code, error.status, errors=errors)


@router.post("/activate/{environment}")
async def activate(request: Request, found: PracticeAdmin, code: str, environment: Environment) -> Response:
    """Activate an environment whose keys are saved. Production needs an explicit confirmation."""
    visitor, form = found.visitor, form_of(request)
    if environment is Environment.production and not form.has("understood"):
        errors = {"understood": words_of(request)("provider.tick_box")}
        return await _page(request, found, code, 422, errors=errors)
    try:
        _, tested = await provider_configs.switch(
            visitor.context, visitor.practice_id, code, environment, visitor.actor
        )
    except provider_configs.LiveKeysRefused as error:
        return await _page(request, found, code, error.status, errors=errors_by_field(error), tested=error.test)
    except EXPECTED as error:
        return await _page(request, found, code, error.status, errors=errors_by_field(error))
    done = Done.production_unchecked if tested and not tested.reached else Done[environment.value]
    return see(f"{visitor.door}/providers/{code}", done)
