"""Response models of a customer's next action, for the OpenAPI document."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from polytill.web.api.answering import Answer


class PayOffline(Answer):
    """How to pay outside a page. Only the fields that apply are present."""

    ussd_code: str = Field(default="")
    bank: str = Field(default="")
    account_number: str = Field(default="")
    account_name: str = Field(default="")
    transfer_reference: str = Field(default="")
    expires_at: str = Field(default="")
    prompted_phone: str = Field(default="")


class NextAction(Answer):
    """What the customer must do to continue. Only the fields that apply are present, besides ``type``."""

    type: Literal["redirect", "client_token", "instructions", "input"]
    url: str = Field(default="")
    provider_token: str = Field(default="")
    instructions: str = Field(default="")
    wants: Literal["", "pin", "otp", "phone", "birthday", "address"] = Field(default="")
    offline: PayOffline = Field(default_factory=PayOffline)
    public_key: str = Field(default="")
