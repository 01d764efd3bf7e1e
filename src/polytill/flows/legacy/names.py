"""What the members of a ``paymentProviders`` field are called in the wild, and what their values mean.

A name is compared in its normal form: lower case, letters and digits only. So ``secretKey``, ``secret_key``, ``SecretKey``
and ``secret-key`` are one name.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from polytill.domain.states import Environment

# ── Names ──


class Part(Enum):
    """What a member can be besides one of the values of a set."""

    keys = "keys"  # an object with the keys
    config = "config"  # an object with further settings
    providers = "providers"  # an object or list with the providers
    not_needed = "not_needed"


NAMES: dict[str, tuple[str, ...]] = {
    "isEnabled": ("enabled", "isenabled", "active", "isactive", "status", "state", "isavailable", "on"),
    "isDisabled": ("disabled", "isdisabled", "inactive", "isinactive"),
    "isDefault": ("isdefault", "default", "isprimary", "primary", "defaultprovider", "preferred", "ispreferred"),
    "supportedCurrencies": (
        *("supportedcurrencies", "currencies", "currency", "currencycodes", "currencycode", "supportedcurrency"),
        *("allowedcurrencies", "enabledcurrencies", "acceptedcurrencies"),
    ),
    "priority": ("priority",),
    "environment": ("environment", "env", "mode", "keymode", "activeenvironment"),
    "isTest": ("istest", "testmode", "istestmode", "usesandbox", "issandbox", "sandboxmode"),
    "isLive": ("islive", "livemode", "islivemode", "isproduction", "productionmode"),
    "publicKey": (
        *("publickey", "publishablekey", "pubkey", "pk", "publicapikey", "apipublickey", "publishableapikey"),
        *("consumerkey", "clientid"),
    ),
    "secretKey": (
        *("secretkey", "secret", "sk", "privatekey", "apisecret", "apisecretkey", "secretapikey", "apikey"),
        *("consumersecret", "clientsecret"),
    ),
    "webhookSecret": (
        *("webhooksecret", "webhooksecretkey", "webhookkey", "webhooksigningsecret", "signingsecret"),
        *("endpointsecret", "whsec", "secrethash", "webhookhash", "webhooksecrethash", "verifhash", "webhookid"),
    ),
}
_PARTS = {
    Part.keys: ("keys", "credentials", "apikeys", "creds", "auth", "secrets"),
    Part.config: ("config", "configuration", "settings", "options", "extra", "additionalconfig"),
    Part.providers: ("providers", "paymentproviders", "gateways", "paymentgateways"),
    Part.not_needed: (
        *(
            "id",
            "uuid",
            "practiceid",
            "label",
            "title",
            "displayname",
            "name",
            "description",
            "notes",
            "logo",
            "logourl",
        ),
        *("icon", "color", "createdat", "updatedat", "createdby", "updatedby", "created", "updated", "configuredby"),
        *("configuredat", "lasttestedat", "lastusedat", "lastupdated", "testedat", "verifiedat", "webhookurl"),
        *("callbackurl", "redirecturl", "returnurl", "successurl", "cancelurl", "websiteurl", "documentationurl"),
        *("baseurl", "apibaseurl", "providername", "v", "version"),
    ),
}
# In a list, the members that can name the provider, the surest first.
CODE_NAMES = ("providercode", "code", "provider", "slug", "gateway", "processor", "key", "id", "name", "type")
_MEANINGS: dict[str, str | Part] = {alias: name for name, aliases in NAMES.items() for alias in aliases} | {
    alias: part for part, aliases in _PARTS.items() for alias in aliases
}
ENVIRONMENTS = {
    **dict.fromkeys(("live", "prod", "production", "real"), Environment.production),
    **dict.fromkeys(("test", "testing", "sandbox", "dev", "development", "demo", "staging"), Environment.sandbox),
}
PROVIDERS = {
    "flw": "flutterwave",
    "rave": "flutterwave",
    "daraja": "mpesa",
    "safaricom": "mpesa",
    "lipanampesa": "mpesa",
    "mpesaexpress": "mpesa",
    "cash": "manual",
    "banktransfer": "manual",
}
_KEYS = ("publicKey", "secretKey", "webhookSecret")


_OTHERS = re.compile("[^a-z0-9]")


def normal(name: str) -> str:
    """The form in which names are compared."""
    # A long name is not one that we know. It is not kept, because it may be a key in the wrong place.
    return _normal(name) if len(name) <= _LONGEST_KEPT else _normal.__wrapped__(name)


@lru_cache(maxsize=2048)
def _normal(name: str) -> str:
    return _OTHERS.sub("", unicodedata.normalize("NFKC", name).casefold())


_LONGEST_KEPT = 24


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a member is: a value of a set (its API name), or a part; and the environment, if its name says one."""

    what: str | Part
    environment: Environment | None = None


def meaning(name: str, aliases: dict[str, str]) -> Meaning | None:
    """What a name means; None if it is not known. ``aliases`` are those of the mapping, and come first.

    A key's name may begin or end with its environment: ``liveSecretKey``, ``secret_key_test``.
    """
    form = normal(name)
    if form in aliases:
        return Meaning(aliases[form])
    if form in _MEANINGS:
        return Meaning(_MEANINGS[form])
    for word, environment in ENVIRONMENTS.items():
        for rest in (form.removeprefix(word), form.removesuffix(word)):
            what = aliases.get(rest, _MEANINGS.get(rest))
            if rest != form and what in _KEYS:
                return Meaning(what, environment)
    return None


def environment_word(text: str) -> Environment | None:
    """The environment that a word such as ``live`` or ``SANDBOX`` names."""
    return ENVIRONMENTS.get(normal(text))


# ── Values ──

_YES = ("true", "1", "yes", "on", "y", "t", "enabled", "active", "enable", "connected", "activated")
_NO = ("false", "0", "no", "off", "n", "f", "disabled", "inactive", "disable", "disconnected", "deactivated")
# The opposite of each word, to write a changed value in the words of the old one.
OPPOSITES = {**dict(zip(_YES, _NO, strict=True)), **dict(zip(_NO, _YES, strict=True))}


def yes_or_no(text: str) -> bool | None:
    """What a text or number says as a yes or no; None if it says neither."""
    word = text.strip().casefold()
    return True if word in _YES else False if word in _NO else None


def in_case_of(word: str, example: str) -> str:
    """A word in the case of another one."""
    if example.isupper():
        return word.upper()
    return word.capitalize() if example[:1].isupper() else word


_CURRENCY_SEPARATOR = re.compile(r"\s*[,;|/]\s*|\s+")


def currencies_of(text: str) -> tuple[str, ...]:
    """The codes in a text such as ``NGN, usd``, in upper case, in their order, each once."""
    return tuple(dict.fromkeys(part.upper() for part in _CURRENCY_SEPARATOR.split(text.strip()) if part))


_CIPHER_TEXT = re.compile(
    r"enc(rypted)?[:(\[]|vault:v\d|AQICAH|U2FsdGVkX1|gAAAAA|\$aes|aes[-:]|ey[\w-]+\.[\w-]*\.[\w-]+\.[\w-]+\.[\w-]+$"
    r"|[0-9a-f]{24,32}:[0-9a-f]+(:[0-9a-f]+)?$",
    re.IGNORECASE,
)


def looks_encrypted(text: str) -> bool:
    """Whether a key looks like one that the host application has encrypted."""
    return _CIPHER_TEXT.match(text.strip()) is not None
