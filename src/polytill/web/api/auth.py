"""Authentication of API calls: keys by their hash, cached for a second, and what each kind of key may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BeforeValidator

from polytill.app import Polytill
from polytill.domain.errors import FieldError, Forbidden, Invalid, NotFound, NotNow, Unauthorized
from polytill.domain.states import ApiKeyKind
from polytill.flows.admin.practices import key_hash
from polytill.flows.context import Context
from polytill.storage import api_keys
from polytill.storage.api_keys import ApiKey

MAX_REMEMBERED = 10_000
SECRET_KEY_PREFIXES = ("pt_owner_", "pt_practice_")
PUBLISHABLE_KEY_PREFIX = "pt_pub_"


class KeyCache:
    """API keys that are not known to have changed and were read within the last minute; all keys read so far while the
    owner database is unreachable."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._found: dict[str, tuple[ApiKey | None, int]] = {}
        self._forgotten = 0  # counts local revocations: a key that was being read during one is not cached

    async def find(self, hashed: str) -> ApiKey | None:
        """The key with this hash, or None."""
        watch = self._context.opening.watch
        generation = await watch.generation()
        key, read_at = self._found.get(hashed, (None, -1))
        if read_at == generation or (key is not None and self._is_current(key, read_at)):
            return key
        known = self._known(hashed)
        if known is not None and (watch.away or self._is_current(*known)):
            return known[0]  # also while away: a query might take as long as the connection timeout
        forgotten = self._forgotten
        try:
            found = await api_keys.by_hash(self._context.owner, hashed)
        except NotNow:
            if known is not None:
                return known[0]
            raise
        if forgotten != self._forgotten:
            return found
        if len(self._found) >= MAX_REMEMBERED:
            self._found.clear()
        self._found[hashed] = (found, generation)
        return found

    def _is_current(self, key: ApiKey, generation: int) -> bool:
        return self._context.opening.watch.is_current("key", str(key.id), generation)

    def _known(self, hashed: str) -> tuple[ApiKey, int] | None:
        """The key as this cache or the directory read it last, with the generation under which it was read, unless it
        may have been revoked since."""
        opening = self._context.opening
        read = [one for one in (self._found.get(hashed), opening.directory.key(hashed)) if one is not None]
        if not read:
            return None
        key, generation = max(read, key=lambda one: one[1])
        if key is None or opening.watch.changed_since("key", str(key.id), generation):
            return None
        return key, generation

    def forget(self) -> None:
        """Clear the cache because a key was revoked here, so that it stops at once."""
        self._forgotten += 1
        self._found.clear()


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller, and the services that the web layer provides."""

    till: Polytill
    key: ApiKey

    @property
    def context(self) -> Context:
        """The dependencies of the flows."""
        return self.till.context

    @property
    def actor(self) -> str:
        """The caller's name in the audit log."""
        return f"key:{self.key.id}"


async def _key_of(request: Request) -> ApiKey:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.startswith((*SECRET_KEY_PREFIXES, PUBLISHABLE_KEY_PREFIX)):
        raise Unauthorized
    cache: KeyCache = request.app.state.keys
    found = await cache.find(key_hash(key.strip()))
    if found is None:
        raise Unauthorized
    return found


def _query_names(route: APIRoute) -> frozenset[str]:
    waiting: list[Dependant] = [route.dependant]
    names = set()
    while waiting:
        dependant = waiting.pop()
        names |= {parameter.alias for parameter in dependant.query_params}
        waiting += dependant.dependencies
    return frozenset(names)


def refuse_other_parameters(request: Request) -> None:
    """Reject query parameters that the operation does not define, or that are given twice: a misspelled filter that is
    ignored would return everything. Call it after authentication, so that nobody else learns what exists."""
    if not request.scope["query_string"]:
        return
    known = _query_names(request.scope["route"])
    given = [name for name, _ in request.query_params.multi_items()]
    errors = [FieldError(f"query:{name}", "This parameter does not exist.") for name in given if name not in known]
    errors += [
        FieldError(f"query:{name}", "This parameter occurs more than once.")
        for name in sorted(known)
        if given.count(name) > 1
    ]
    if errors:
        raise Invalid(errors)


async def owner(request: Request) -> Caller:
    """Authenticate an owner key."""
    key = await _key_of(request)
    if key.kind is not ApiKeyKind.owner:
        raise Forbidden("This operation needs an owner key.")
    refuse_other_parameters(request)
    return Caller(request.app.state.till, key)


NO_PRACTICE, LAST_PRACTICE = 0, 2**31 - 1


def _practice_of(text: object) -> int:
    # An invalid id counts as a missing practice, so that the key is checked first, as for any other id.
    found = str(text)
    number = int(found) if found.isascii() and found.isdigit() and len(found) <= 10 else NO_PRACTICE
    return number if number <= LAST_PRACTICE else NO_PRACTICE


PracticeId = Annotated[
    int,
    Path(alias="practiceId", json_schema_extra={"minimum": 1, "maximum": LAST_PRACTICE}),
    BeforeValidator(_practice_of),
]


class PracticeCaller:
    """Authenticate a key of the practice in the path, with a scope. Another practice is "not found", whether or not it
    exists."""

    def __init__(self, scope: str, publishable: bool = False) -> None:
        self.scope = scope
        self.publishable = publishable

    async def __call__(self, request: Request, practice_id: PracticeId) -> Caller:
        key = await _key_of(request)
        if key.kind is ApiKeyKind.owner:
            raise Forbidden("This operation needs a key of the practice.")
        if key.practice_id != practice_id:
            raise NotFound("There is no such practice.")
        if key.kind is ApiKeyKind.publishable:
            if not self.publishable:
                raise Forbidden("A publishable key does not allow this operation.")
        elif self.scope not in key.scopes:
            raise Forbidden(f"This key lacks the scope {self.scope!r}.")
        refuse_other_parameters(request)
        return Caller(request.app.state.till, key)


Owner = Annotated[Caller, Depends(owner)]
Reads = Annotated[Caller, Depends(PracticeCaller("read"))]
ReadsPublic = Annotated[Caller, Depends(PracticeCaller("read", publishable=True))]
Pays = Annotated[Caller, Depends(PracticeCaller("payments"))]
Refunds = Annotated[Caller, Depends(PracticeCaller("refunds"))]
Configures = Annotated[Caller, Depends(PracticeCaller("configure"))]
