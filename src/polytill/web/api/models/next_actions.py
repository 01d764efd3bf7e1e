"""A customer's next action, and the customer's input that it may ask for."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Self

from msgspec import UNSET, UnsetType
from pydantic import Field, StrictStr

from polytill.flows.next_action import open_action
from polytill.flows.payments.reading import PaymentDetails, current_attempt
from polytill.providers.outcomes import NextKind, Wants
from polytill.storage.databases import PracticeDb
from polytill.web.api.requests import RequestBody
from polytill.web.api.responses import ResponseBody
from polytill.web.api.values import Typed


class PaymentInput(RequestBody):
    """The customer's input, by the names that ``nextAction.wants`` requests. It is never stored."""

    values: dict[Annotated[StrictStr, Field(pattern=r"^[a-zA-Z]{1,20}$")], Typed] = Field(min_length=1, max_length=6)


class OfflineInstructions(ResponseBody):
    """How to pay outside a page. Only the fields that apply are present."""

    ussd_code: str | UnsetType = UNSET
    bank: str | UnsetType = UNSET
    account_number: str | UnsetType = UNSET
    account_name: str | UnsetType = UNSET
    transfer_reference: str | UnsetType = UNSET
    expires_at: str | UnsetType = UNSET
    prompted_phone: str | UnsetType = UNSET


class NextAction(ResponseBody):
    """What the customer must do to continue. Only the fields that apply are present, besides ``type``."""

    type: NextKind
    url: str | UnsetType = UNSET
    provider_token: str | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    wants: Wants | UnsetType = UNSET
    offline: OfflineInstructions | UnsetType = UNSET
    public_key: str | UnsetType = UNSET

    @classmethod
    def of(cls, db: PracticeDb, found: PaymentDetails, public_key: str | None) -> Self | None:
        """What the customer must do now; None if there is nothing to do."""
        action = open_action(db, current_attempt(found.payment, found.attempts)) if found.attempts else None
        if action is None:
            return None
        token = action.provider_token.reveal() if action.provider_token else None
        offline = {k: v or UNSET for k, v in asdict(action.offline).items()} if action.offline else None
        return cls(
            action.kind,
            url=action.url or UNSET,
            provider_token=token or UNSET,
            instructions=action.instructions or UNSET,
            wants=action.wants or UNSET,
            offline=UNSET if offline is None else OfflineInstructions(**offline),
            public_key=public_key if token and public_key else UNSET,
        )
