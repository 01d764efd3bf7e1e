"""The available handlers: built-in ones, those of plug-in packages, and custom ones that settings allow.

A catalog row names a handler, but cannot choose code. A handler that cannot be loaded is missing, with a sentence that
gives the reason, and never breaks another.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from importlib import import_module, invalidate_caches
from importlib.metadata import EntryPoint, entry_points

from polytill.domain.states import IntegrationType
from polytill.providers.contained import cause_of, ends_only_itself
from polytill.providers.contract import Handler
from polytill.providers.declaration import faults_of
from polytill.providers.flutterwave.v3 import FlutterwaveProvider
from polytill.providers.flutterwave.v4 import FlutterwaveV4Provider
from polytill.providers.manual import ManualProvider
from polytill.providers.mpesa.handler import MpesaProvider
from polytill.providers.paypal.handler import PayPalProvider
from polytill.providers.paystack.handler import PaystackProvider
from polytill.providers.stripe.handler import StripeProvider

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


MOST_FAULTS = 3


class HandlerMissing(Exception):
    """Why a code has no handler in this installation, as one sentence."""


@dataclass(frozen=True, slots=True)
class PlugIn:
    """One entry point of the group ``polytill.providers``: its handler, or a sentence that says why there is none."""

    code: str
    path: str  # module:Class
    distribution: str | None  # name and version of the package that provides it
    handler: type[Handler] | None = None
    refused: str | None = None


class Registry:
    """Handlers by provider code, for one installation."""

    def __init__(self, allowed_modules: frozenset[str] = frozenset()) -> None:
        self._allowed = allowed_modules
        self._plug_ins: dict[str, PlugIn] | None = None
        self._custom: dict[str, type[Handler]] = {}

    def get(
        self, code: str, integration_type: IntegrationType = IntegrationType.built_in, handler_module: str | None = None
    ) -> type[Handler]:
        """The handler of a catalog entry. Raises ``HandlerMissing`` if there is none."""
        if integration_type is IntegrationType.custom:
            return self._load_custom(code, handler_module)
        if code in BUILT_IN:
            return BUILT_IN[code]
        found = self._found().get(code)
        if found is None:
            raise HandlerMissing(f"No handler for {code!r} is installed.")
        if found.handler is None:
            raise HandlerMissing(found.refused)
        return found.handler

    def installed(self) -> dict[str, type[Handler]]:
        """Handlers that need no permission: built-in ones first, then plug-ins."""
        plugged = {code: one.handler for code, one in self._found().items() if one.handler is not None}
        return BUILT_IN | {code: handler for code, handler in plugged.items() if code not in BUILT_IN}

    def plug_ins(self) -> list[PlugIn]:
        """All installed plug-ins by code, loaded and rejected."""
        return [one for _, one in sorted(self._found().items())]

    def look_again(self, codes: Iterable[str]) -> None:
        """Find plug-ins that were installed later, if one of these codes has no handler yet. Loaded handlers stay."""
        if self._plug_ins is None or all(code in self.installed() for code in codes):
            return
        invalidate_caches()
        loaded = {code: one for code, one in self._plug_ins.items() if one.handler is not None}
        self._plug_ins = _find(loaded)

    def _found(self) -> dict[str, PlugIn]:
        if self._plug_ins is None:
            self._plug_ins = _find({})
        return self._plug_ins

    def _load_custom(self, code: str, path: str | None) -> type[Handler]:
        if not path or path not in self._allowed:
            raise HandlerMissing(f"The handler module {path!r} is not on the allow-list in settings.")
        if path not in self._custom:
            module, _, name = path.rpartition(".")
            if not module or ":" in path:
                raise HandlerMissing(
                    f"The handler module {path!r} is not a dotted path such as 'package.module.Class'."
                )
            self._custom[path] = _loaded(code, "handler module", path, lambda: getattr(import_module(module), name))
        elif self._custom[path].code != code:
            raise HandlerMissing(f"{path} is the handler of {self._custom[path].code!r}, not of {code!r}.")
        return self._custom[path]


def _find(loaded: Mapping[str, PlugIn]) -> dict[str, PlugIn]:
    """The installed plug-ins by code. If several claim one provider, none of their code runs."""
    claims: dict[str, list[EntryPoint]] = {}
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        claims.setdefault(entry_point.name, []).append(entry_point)
    found = dict(loaded)
    for code, claimed in claims.items():
        if code not in found or len(claimed) > 1:
            found[code] = _plug_in(code, claimed)
    return found


def _plug_in(code: str, claimed: list[EntryPoint]) -> PlugIn:
    who = sorted(f"{one.value} ({_distribution(one) or 'unknown package'})" for one in claimed)
    first = PlugIn(code, claimed[0].value, _distribution(claimed[0]))
    if code in BUILT_IN:
        return replace(first, refused=f"The code {code!r} belongs to a built-in handler; {who[0]} is ignored.")
    if len(claimed) > 1:
        both = " and ".join(who)
        refused = f"Several plug-ins claim the code {code!r}: {both}. None is loaded; uninstall all but one."
        return replace(first, distribution=None, refused=refused)
    try:
        return replace(first, handler=_loaded(code, "plug-in", first.path, claimed[0].load))
    except HandlerMissing as error:
        return replace(first, refused=str(error))


def _distribution(entry_point: EntryPoint) -> str | None:
    known = getattr(entry_point, "dist", None)
    return f"{known.name} {known.version}" if known is not None else None


def _loaded(code: str, what: str, path: str, load: Callable[[], object]) -> type[Handler]:
    """The checked handler that ``load`` imports. Raises ``HandlerMissing`` if there is none."""
    try:
        with redirect_stdout(sys.stderr):  # an import must not print into the output of a command
            return _checked(code, load(), path)
    except HandlerMissing:
        raise
    except BaseException as error:
        if not ends_only_itself(error):
            raise
        raise HandlerMissing(f"The {what} {path!r} cannot be loaded: {cause_of(error)}{_place(error)}.") from error


def _place(error: BaseException) -> str:
    """File and line of the plug-in's own code at which an import failed, such as `` at polytill_acme/handler.py:12``."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" at {_short(error.filename)}:{error.lineno}"
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    return f" at {_short(own[-1].filename)}:{own[-1].lineno}" if own else ""


def _short(filename: str) -> str:
    return "/".join(filename.replace("\\", "/").split("/")[-2:])


def _checked(code: str, found: object, path: str) -> type[Handler]:
    if not isinstance(found, type) or not issubclass(found, Handler):
        raise HandlerMissing(f"{path} is not a payment provider handler.")
    own = getattr(found, "code", None)
    if own != code:
        raise HandlerMissing(f"{path} is the handler of {own!r}, not of {code!r}.")
    if faults := faults_of(found):
        more = f", and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
        raise HandlerMissing(f"{path} declares what cannot be used: {'; '.join(faults[:MOST_FAULTS])}{more}.")
    return found
