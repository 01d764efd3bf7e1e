"""The error tree. The docstring of a class is the message that people read; the class says who can fix the problem.

    PolytillError
    ├── CallerError            the caller must change the request (4xx)
    │   ├── NotFound  Gone  Conflict  Invalid  Forbidden  Unauthorized  TooLarge  Unreadable
    ├── NotNow                 temporary: try again later (503)
    ├── ProviderRefused        a provider rejected a request that creates no row (502)
    ├── OperatorError          the installation must be fixed (settings, keys, databases)
    │   ├── WrongPractice  SealBroken  UnreadableRow  …
    └── Stale                  another writer came first; the flow reads again

A decline by a provider is a value (``providers.contract.Outcome``), never an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class FieldError:
    """One error of one field: a JSON pointer and a sentence.

    ``reason`` identifies the sentence, from a closed list, so that a page can show it in the reader's language.
    ``about`` contains its values.
    """

    pointer: str
    detail: str
    reason: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


class PolytillError(Exception):
    """An internal error occurred."""

    status = 500
    code = "internal"
    public: str | None = None  # sent to HTTP callers in place of the detail
    retry_after_s: int | None = None

    def __init__(
        self, detail: str | None = None, *, code: str | None = None, reason: str | None = None, **about: Any
    ) -> None:
        self.detail = detail or (self.__doc__ or "").strip()
        if code is not None:
            self.code = code
        # Identifies the sentence for pages where the code, which programs read, is less specific.
        self.reason = reason or self.code
        self.about = about
        super().__init__(self.detail)


class CallerError(PolytillError):
    """The request cannot be processed."""

    status = 400
    code = "bad_request"


class Unreadable(CallerError):
    """The request body is not valid JSON."""

    status = 400
    code = "unreadable"


class Unauthorized(CallerError):
    """The API key is missing or not valid."""

    status = 401
    code = "unauthorized"


class Forbidden(CallerError):
    """The API key does not allow this operation."""

    status = 403
    code = "forbidden"


class PracticeClosed(Forbidden):
    """This practice is closed, so it takes no new payments, payment links or credentials."""

    code = "practice_closed"


class NotFound(CallerError):
    """This address does not exist."""

    status = 404
    code = "not_found"


class Gone(CallerError):
    """This no longer exists, and will not exist again."""

    status = 410
    code = "gone"


class PracticeEnded(Gone):
    """This practice was closed and its run-out has ended, so it takes no refunds, captures or webhooks."""

    code = "practice_ended"


class PracticeDeleted(Gone):
    """This practice was deleted."""

    code = "practice_deleted"


class Conflict(CallerError):
    """The request conflicts with the current state."""

    status = 409
    code = "conflict"


class TooLarge(CallerError):
    """The request body exceeds the size limit of this address."""

    status = 413
    code = "too_large"


class Invalid(CallerError):
    """Some fields are not valid."""

    status = 422
    code = "invalid"

    def __init__(
        self, errors: list[FieldError], detail: str | None = None, *, code: str | None = None, reason: str | None = None
    ) -> None:
        self.errors = errors
        super().__init__(detail or (errors[0].detail if len(errors) == 1 else None), code=code, reason=reason)


def invalid(pointer: str, detail: str, *, code: str | None = None, reason: str | None = None, **about: Any) -> Invalid:
    """An ``Invalid`` for a single field."""
    return Invalid([FieldError(pointer, detail, reason or code, about)], code=code)


class InvalidAmount(ValueError):
    """Not an exact amount of this currency."""


class TooMany(CallerError):
    """Too many requests. Try again later."""

    status = 429
    code = "too_many_requests"


class NotNow(PolytillError):
    """The service is busy. Try again later."""

    status = 503
    code = "busy"
    retry_after_s: int | None = 2


class DatabaseUnavailable(NotNow):
    """The database cannot be reached. Try again later."""

    code = "database_unavailable"
    public = "The database cannot be reached. Try again later."


class DatabaseRefused(DatabaseUnavailable):
    """The database server rejects the user or the password."""

    retry_after_s = 30


class DiskFull(NotNow):
    """The disk of the database is full."""

    code = "disk_full"
    public = "The database is full, so nothing was changed. Try again later."
    retry_after_s = 30


class PracticeUnavailable(NotNow):
    """The practice's database is unavailable."""

    code = "practice_unavailable"
    public = "This practice's database is unavailable. Try again later."
    retry_after_s = 30


class PracticeMissing(PracticeUnavailable):
    """The practice's database is not at its place: it is being moved or restored, or it was lost."""

    retry_after_s = 2


class PracticeNotMigrated(PracticeUnavailable):
    """The schema of the practice's database does not match this version of polytill. Run `polytill migrate`."""

    code = "practice_not_migrated"
    public = "This practice is being migrated to another version. Try again later."


class PracticeBehind(NotNow):
    """This practice's database is older than what polytill knows of it, so that no money can be taken or returned."""

    code = "practice_behind"
    public = (
        "This practice was restored from an older copy. Payments and refunds continue when its operator has adopted it."
    )
    retry_after_s = 60


class InstallationCopied(NotNow):
    """This installation is a copy that nobody has adopted, so that nothing of production is done here."""

    code = "installation_copied"
    public = (
        "This installation is a copy of another one. Its operator must adopt it before it takes payments or changes"
        " anything."
    )
    retry_after_s = 60


class SandboxOnly(Forbidden):
    """This installation was neutralized: it has no production."""

    code = "sandbox_only"


class OwnerDatabaseOlder(NotNow):
    """The owner database is older than what the practices' databases know of it."""

    code = "owner_database_older"
    public = "The owner database was restored from an older copy. This continues when its operator has adopted it."
    retry_after_s = 60


class ProviderRefused(PolytillError):
    """The payment provider rejected the request."""

    status = 502
    code = "provider_refused"


class OperatorError(PolytillError):
    """The installation has an error that the operator must fix."""

    code = "operator"
    # Sent to HTTP callers, because the detail may name files, hosts and keys, which only the operator may know.
    public: str | None = "The installation has an error. The operator can find its cause in the log."


class MigrationRefused(OperatorError):
    """The database rejected a migration, which was rolled back."""

    code = "migration_refused"


class WrongPractice(OperatorError):
    """The opened database belongs to another practice. Nothing was read from it."""

    status = 503
    code = "practice_unavailable"
    public = PracticeUnavailable.public
    retry_after_s = 30


class SealBroken(OperatorError):
    """A sealed secret cannot be opened: it was moved or altered, or its key is missing."""

    code = "seal_broken"


class KeyMissing(SealBroken):
    """The key ring lacks a key that is in use. Copy the current key ring to this node."""

    status = 503
    code = "key_missing"
    public = PracticeUnavailable.public
    retry_after_s = 5


class KeyRingDiffers(OperatorError):
    """The key ring does not belong to this installation."""

    status = 503
    code = "key_ring_differs"
    public = "Secrets cannot be sealed or opened at present. The operator must restore the key ring."
    retry_after_s = 30


class UnreadableRow(OperatorError):
    """This version cannot read a row, which a newer version of polytill must have written."""

    code = "unreadable_row"

    def __init__(self, practice_id: int, row_id: str | int) -> None:
        self.practice_id, self.row_id = practice_id, row_id
        super().__init__()


class Stale(PolytillError):
    """Another writer changed the row first."""

    code = "stale"


class Duplicate(PolytillError):
    """A row with this unique key already exists."""

    code = "duplicate"

    def __init__(self, constraint: str) -> None:
        self.constraint = constraint
        super().__init__()


class CheckRefused(PolytillError):
    """The database rejected the change because it would break an invariant."""

    code = "invariant"

    def __init__(self, constraint: str) -> None:
        self.constraint = constraint
        super().__init__()
