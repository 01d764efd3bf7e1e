"""Which handlers exist: those built in, those that plug-in packages bring, and custom ones that settings allow.

A catalog row names a handler; it never chooses code by itself. A handler that cannot be loaded is missing with a
sentence that says why, and never breaks another.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from polytill.providers.contract import Handler
from polytill.providers.flutterwave import FlutterwaveProvider
from polytill.providers.flutterwave_v4 import FlutterwaveV4Provider
from polytill.providers.manual import ManualProvider
from polytill.providers.mpesa import MpesaProvider
from polytill.providers.paypal import PayPalProvider
from polytill.providers.paystack import PaystackProvider
from polytill.providers.stripe import StripeProvider

ENTRY_POINT_GROUP = "polytill.providers"

BUILT_IN: dict[str, type[Handler]] = {
    "stripe": StripeProvider,
    "paystack": PaystackProvider,
    "flutterwave": FlutterwaveProvider,
    "flutterwave_v4": FlutterwaveV4Provider,
    "mpesa": MpesaProvider,
    "paypal": PayPalProvider,
    "manual": ManualProvider,
}


# What foreign code may do while it is imported. It breaks itself with it, and nothing else.
BREAKS = (Exception, SystemExit)


class HandlerMissing(Exception):
    """Why a code has no handler here, as one sentence."""


class Registry:
    """Handlers by provider code, for one installation."""

    def __init__(self, allowed_modules: frozenset[str] = frozenset()) -> None:
        self._allowed = allowed_modules
        self._plugins: dict[str, type[Handler]] | None = None
        self._broken: dict[str, str] = {}
        self._custom: dict[str, type[Handler]] = {}

    def get(self, code: str, integration_type: str = "built_in", handler_module: str | None = None) -> type[Handler]:
        """The handler of a catalog entry; ``HandlerMissing`` where there is none."""
        if integration_type == "custom":
            return self._load_custom(code, handler_module)
        found = BUILT_IN.get(code) or self._found_plugins().get(code)
        if found is None:
            raise HandlerMissing(self._broken.get(code, f"No handler for {code!r} is installed."))
        return found

    def installed(self) -> dict[str, type[Handler]]:
        """Handlers that need no permission: built in and plugged in."""
        return {**self._found_plugins(), **BUILT_IN}

    def _found_plugins(self) -> dict[str, type[Handler]]:
        if self._plugins is None:
            self._plugins = {}
            for entry_point in entry_points(group=ENTRY_POINT_GROUP):
                try:
                    handler = _checked(entry_point.name, entry_point.load(), entry_point.value)
                except HandlerMissing as error:
                    self._broken[entry_point.name] = str(error)
                except BREAKS as error:
                    self._broken[entry_point.name] = _cannot("plug-in", entry_point.value, error)
                else:
                    self._plugins[entry_point.name] = handler
        return self._plugins

    def _load_custom(self, code: str, path: str | None) -> type[Handler]:
        if not path or path not in self._allowed:
            raise HandlerMissing(f"The handler module {path!r} is not on the allow-list in settings.")
        if path not in self._custom:
            module, _, name = path.rpartition(".")
            try:
                self._custom[path] = _checked(code, getattr(import_module(module), name), path)
            except HandlerMissing:
                raise
            except BREAKS as error:
                raise HandlerMissing(_cannot("handler module", path, error)) from error
        return self._custom[path]


def _cannot(what: str, path: str, error: BaseException) -> str:
    return f"The {what} {path!r} cannot be loaded: {type(error).__name__}."


def _checked(code: str, found: object, path: str) -> type[Handler]:
    if not isinstance(found, type) or not issubclass(found, Handler):
        raise HandlerMissing(f"{path} is not a payment provider handler.")
    own = getattr(found, "code", None)
    if own != code:
        raise HandlerMissing(f"{path} is the handler of {own!r}, not of {code!r}.")
    return found
