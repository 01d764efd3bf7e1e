"""polytill: payments for multi-tenant software. These names are what a host application needs; ``docs/embedding.md`` shows
them in use.

``polytill.web`` and ``polytill.cli`` are loaded only by those who use them.
"""

from typing import TYPE_CHECKING, Any

from polytill.app import Polytill
from polytill.domain.errors import (
    CallerError,
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    NotNow,
    OperatorError,
    PolytillError,
    ProviderRefused,
    TooLarge,
    TooMany,
    Unauthorized,
)
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import AttemptState, CaptureMode, Environment, EventState, PaymentStatus, RefundState
from polytill.flows.payments.request import PaymentRequest
from polytill.migration import Migrated, migrate
from polytill.providers.outcomes import NextKind, PayOffline, Wants
from polytill.providers.params import Customer
from polytill.requests import ConfigurationRequest, Credentials
from polytill.results import (
    Attempt,
    AvailableProvider,
    Event,
    EventPage,
    NewPractice,
    NextAction,
    Payment,
    PaymentPage,
    Practice,
    ProviderConfiguration,
    Refund,
    WebhookReceipt,
)
from polytill.settings import Settings
from polytill.version import VERSION
from polytill.worker import Worker

if TYPE_CHECKING:
    from polytill.web.app import make_app

__all__ = [
    "Attempt",
    "AttemptState",
    "AvailableProvider",
    "CallerError",
    "CaptureMode",
    "ConfigurationRequest",
    "Conflict",
    "Credentials",
    "Customer",
    "Environment",
    "Event",
    "EventPage",
    "EventState",
    "FieldError",
    "Forbidden",
    "Invalid",
    "Migrated",
    "Money",
    "NewPractice",
    "NextAction",
    "NextKind",
    "NotFound",
    "NotNow",
    "OperatorError",
    "PayOffline",
    "Payment",
    "PaymentPage",
    "PaymentRequest",
    "PaymentStatus",
    "Polytill",
    "PolytillError",
    "Practice",
    "ProviderConfiguration",
    "ProviderRefused",
    "Refund",
    "RefundState",
    "Secret",
    "Settings",
    "TooLarge",
    "TooMany",
    "Unauthorized",
    "Wants",
    "WebhookReceipt",
    "Worker",
    "__version__",
    "make_app",
    "migrate",
]
__version__ = VERSION


def __getattr__(name: str) -> Any:
    # FastAPI and the pages are loaded only by a process that serves them.
    if name == "make_app":
        from polytill.web.app import make_app

        return make_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
