"""Who is calling: API keys by the hash of the key, remembered for a second, and what each kind may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BeforeValidator

from polytill.app import Polytill
from polytill.domain.errors import FieldError, Forbidden, Invalid, NotFound, NotNow, Unauthorized
from polytill.flows.admin.practices import key_hash
from polytill.flows.context import Desk
from polytill.storage import people
from polytill.storage.people import ApiKey

MAX_REMEMBERED = 10_000
SECRET_KEY_PREFIXES = ("pt_owner_", "pt_practice_")
PUBLISHABLE_KEY_PREFIX = "pt_pub_"


class KeyCache:
    """Keys that were looked up within the last second; while the owner database cannot be reached, all that were read."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._found: dict[str, tuple[ApiKey | None, int]] = {}
        self._forgotten = 0  # counts revocations here: what was being read meanwhile is not kept

    async def find(self, hashed: str) -> ApiKey | None:
        """The key with this hash, or None."""
        watch = self._desk.opening.watch
        generation = await watch.generation()
        cached = self._found.get(hashed)
        if cached and generation == cached[1]:
            return cached[0]
        known = self._known(hashed)
        if known is not None and watch.away:
            return known  # asking might take as long as a connection does
        forgotten = self._forgotten
        try:
            found = await people.key_by_hash(self._desk.owner, hashed)
        except NotNow:
            if known is not None:
                return known
            raise
        if forgotten != self._forgotten:
            return found
        if len(self._found) >= MAX_REMEMBERED:
            self._found.clear()
        self._found[hashed] = (found, generation)
        return found

    def _known(self, hashed: str) -> ApiKey | None:
        """The key as it was read last, by this cache or with the directory, unless it may have been revoked since."""
        opening = self._desk.opening
        read = [one for one in (self._found.get(hashed), opening.directory.key(hashed)) if one is not None]
        if not read:
            return None
        key, generation = max(read, key=lambda one: one[1])
        return None if key is None or opening.watch.changed_since("key", str(key.id), generation) else key

    def forget(self) -> None:
        """A key was revoked here: it ends at once."""
        self._forgotten += 1
        self._found.clear()


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller, and what the web layer hands it."""

    till: Polytill
    key: ApiKey

    @property
    def desk(self) -> Desk:
        """What the flows need."""
        return self.till.desk

    @property
    def actor(self) -> str:
        """How the caller stands in the audit log."""
        return f"key:{self.key.id}"

    @property
    def practice_id(self) -> int:
        """The practice of a practice key."""
        assert self.key.practice_id is not None
        return self.key.practice_id


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
    """Refuse query parameters that the operation does not have, or that are given twice: a filter that is misspelled and
    ignored would answer with everything. Called when the key is known, so that nobody else learns what there is."""
    if not request.scope["query_string"]:
        return
    known = _query_names(request.scope["route"])
    given = [name for name, _ in request.query_params.multi_items()]
    errors = [FieldError(f"query:{name}", "There is no such parameter.") for name in given if name not in known]
    errors += [
        FieldError(f"query:{name}", "This parameter is given twice.") for name in sorted(known) if given.count(name) > 1
    ]
    if errors:
        raise Invalid(errors)


async def owner(request: Request) -> Caller:
    """Only the platform's owner."""
    key = await _key_of(request)
    if key.kind != "owner":
        raise Forbidden("This needs an owner key.")
    refuse_other_parameters(request)
    return Caller(request.app.state.till, key)


NO_PRACTICE, LAST_PRACTICE = 0, 2**31 - 1


def _practice_of(text: object) -> int:
    # What is no id is a practice that is not there, so that the key is looked at first, as for any other.
    found = str(text)
    number = int(found) if found.isascii() and found.isdigit() and len(found) <= 10 else NO_PRACTICE
    return number if number <= LAST_PRACTICE else NO_PRACTICE


PracticeId = Annotated[
    int, Path(alias="practiceId", json_schema_extra={"minimum": 1, "maximum": LAST_PRACTICE}),
    BeforeValidator(_practice_of),
]  # fmt: skip


class PracticeCaller:
    """A key of the practice in the path, with a scope. Another practice is not found, whether it exists or not."""

    def __init__(self, scope: str, publishable: bool = False) -> None:
        self.scope = scope
        self.publishable = publishable

    async def __call__(self, request: Request, practice_id: PracticeId) -> Caller:
        key = await _key_of(request)
        if key.kind == "owner":
            raise Forbidden("This needs a key of the practice.")
        if key.practice_id != practice_id:
            raise NotFound("There is no such practice.")
        if key.kind == "publishable":
            if not self.publishable:
                raise Forbidden("A publishable key does not allow this.")
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
