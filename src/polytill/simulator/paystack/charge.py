"""Paystack's direct charges: /charge, its steps, and saved cards. The expected inputs are Paystack's test data.

Bank 057 with account 0000000000 asks for the birthday and an OTP; 5060… asks for PIN 1234 and an OTP, …7804 for PIN
0000, a phone and an OTP; Ghana's ``vod`` wallet asks for an OTP. A wrong answer ends the charge. A card that was saved
under an e-mail with ``+2fa`` requires the cardholder, one with ``+nofunds`` is declined.
"""

from __future__ import annotations

import re
from functools import partial

from polytill.simulator.books import Account, Json, Transaction, iso_time
from polytill.simulator.paystack import shapes
from polytill.simulator.paystack.answers import No, yes
from polytill.simulator.paystack.money import PaystackMoney
from polytill.simulator.wire import Answer, Route, route

_OTP = "123456"
_WAYS = ("card", "bank", "ussd", "mobile_money", "bank_transfer")
_WALLETS = {"GHS": ("mtn", "atl", "vod"), "KES": ("mpesa", "mpesa_offline"), "XOF": ("mtn", "orange", "wave")}
_BANK_CODES = ("737", "919", "822", "966")
# The pattern of a right answer to each step. The last step of a charge settles it.
_PHONE = r"\+?[0-9]{10,15}"
_STEPS = {
    "send_pin": ("pin", r"[0-9]{4}"),
    "send_otp": ("otp", _OTP),
    "send_phone": ("phone", _PHONE),
    "send_birthday": ("birthday", r"(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]"),
    "send_address": ("address", r".+"),
}
_CARDS = {
    "5060666666666666666": ("1234", ["send_pin", "send_otp"]),
    "507850785078507804": ("0000", ["send_pin", "send_phone", "send_otp"]),
    "4084080000000509": ("", ["send_address"]),
}


class PaystackCharges(PaystackMoney):
    """Paystack's charges without a hosted page."""

    def charge_table(self) -> list[Route]:
        """The addresses of direct charges."""
        steps = [
            route(f"POST /charge/submit_{_STEPS[word][0]}", partial(self._submit_step, word), "confirm")
            for word in _STEPS
        ]
        return [
            route("POST /transaction/charge_authorization", self._charge_authorization, "create"),
            route("POST /customer/authorization/deactivate", self._deactivate),
            route("POST /charge", self._charge, "create"),
            *steps,
            route("GET /charge/{reference}", self._check_charge),
        ]

    # Saved cards

    @staticmethod
    def _owner(account: Account, saved: object) -> Transaction | None:
        """The transaction that saved the card with this authorization code."""
        return next(
            (tx for tx in account.transactions if tx.wire.authorization.get("authorization_code") == saved), None
        )

    def _charge_authorization(self, account: Account, given: Json) -> Answer:
        saved = given.get("authorization_code")
        if not isinstance(saved, str):
            raise No("Authorization code is required")
        owner = self._owner(account, saved)
        if owner is None or owner.wire.customer["email"] != given.get("email"):
            raise No("Email does not match Authorization code. Please confirm.", "invalid_authorization")
        if str(saved) in account.memory["inactive"]:
            raise No("Authorization is inactive", "invalid_authorization")
        if owner.wire.authorization["reusable"] is not True:
            raise No("Authorization is not reusable", "invalid_authorization")
        tx = self._new(account, given)
        email = owner.wire.customer["email"]
        if "+2fa" in email:
            tx.status = "requires_action"
            data = {
                "authorization_url": f"{given['']}/paystack/pay/{tx.wire.access_code}",
                "reference": tx.reference,
                "access_code": tx.wire.access_code,
                "paused": True,
            }
            return yes("Please, redirect your customer to the authorization url provided", data)
        self._settle(tx, "+nofunds" not in email)
        if tx.status == "failed":
            tx.closed, tx.wire.message = True, "Insufficient Funds"
        return yes("Charge attempted", _charged(tx))

    def _deactivate(self, account: Account, given: Json) -> Answer:
        saved = given.get("authorization_code")
        if self._owner(account, saved) is None:
            raise No("Authorization code not found", "invalid_authorization", status=404)
        if str(saved) in account.memory["inactive"]:
            raise No("Authorization is inactive", "invalid_authorization")
        account.memory["inactive"][str(saved)] = True
        return yes("Authorization has been deactivated", None)

    # Direct charges

    def _charge(self, account: Account, given: Json) -> Answer:
        """A wallet or a bank waits for the payer. A card pays at once or asks for its steps."""
        if given.get("authorization_code") is not None:
            return self._charge_authorization(account, given)
        way = next((name for name in _WAYS if name in given), None)
        told = given.get(way or "")
        if way is None or not isinstance(told, dict):
            raise No("Please pass a payment channel: card, bank, mobile_money, ussd or bank_transfer")
        expected, steps = self._steps(way, told, str(given.get("currency") or "NGN"))
        tx = self._new(account, given)
        tx.wire.channel, tx.wire.callback_url = way, None
        account.memory["steps"][str(tx.reference)] = [expected, list(steps)]
        if way == "card" and not steps:
            self._settle(tx, not _card_number(told).startswith("40840800"))
            tx.closed = True
            return yes("Charge attempted", _charged(tx))
        tx.status, tx.wire.status = "requires_action", "ongoing"
        number = self.network.number("paystack ussd", 453_000)
        data = _asks(tx, steps[0]) if steps else _offline(number, tx, way)
        return yes("Charge attempted", data)

    def _steps(self, way: str, told: Json, code: str) -> tuple[str, list[str]]:
        """The PIN of a card, and the inputs that it will ask for."""
        if way == "card":
            return _CARDS.get(_card_number(told), ("", []))
        if way == "bank":
            if code != "NGN" or not told.get("code") or not re.fullmatch("[0-9]{10}", str(told.get("account_number"))):
                raise No("Please pass a valid bank code and account number")
            return "", ["send_birthday", "send_otp"]
        if way == "mobile_money":
            if told.get("provider") not in _WALLETS.get(code, ()) or not re.fullmatch(_PHONE, str(told.get("phone"))):
                raise No("Please pass a valid mobile money provider and phone")
            return "", ["send_otp"] if told["provider"] == "vod" else []
        if code != "NGN" or (way == "ussd" and told.get("type") not in _BANK_CODES):
            raise No(f"{way} is not available for this request")
        return "", []

    def _submit_step(self, word: str, account: Account, given: Json) -> Answer:
        name, pattern = _STEPS[word]
        reference = str(given.get("reference"))
        tx, kept = self._by_reference(account, reference), account.memory["steps"].get(reference)
        if tx is None or kept is None:
            raise No("Transaction reference not found.", "transaction_not_found", status=404)
        pin, steps = kept
        if tx.wire.status != "ongoing" or steps[:1] != [word]:
            raise No("Charge attempt cannot be continued", "invalid_state")
        right = pin if word == "send_pin" and pin else pattern
        if not re.fullmatch(right, str(given.get(name) or "")):  # one wrong answer ends the charge
            self._settle(tx, False)
            tx.closed, tx.wire.message = True, f"Incorrect {name}"
            raise No(f"Invalid {name}")
        steps.pop(0)
        if steps:
            return yes("Charge attempted", _asks(tx, steps[0]))
        self._settle(tx, True)
        return yes("Charge attempted", _charged(tx))

    def _check_charge(self, account: Account, given: Json, reference: str) -> Answer:
        tx = self._known(account, reference)
        _, steps = account.memory["steps"].get(reference, ("", []))
        if tx.wire.status == "ongoing" and steps:
            return yes("Reference check successful", _asks(tx, steps[0]))
        own = tx.wire.status
        status = {"abandoned": "pending", "ongoing": "pending", "reversed": "success"}.get(own, own)
        data = {"reference": reference, "status": status}
        if status == "failed":
            data["message"] = tx.wire.message
        return yes("Reference check successful", _charged(tx) if status == "success" else data)


def _card_number(card: Json) -> str:
    return str(card.get("number", "")).replace(" ", "")


def _charged(tx: Transaction) -> Json:
    """The answer of a completed direct charge."""
    full = shapes.transaction_json(tx)
    names = (
        "amount currency transaction_date status reference domain metadata gateway_response message channel "
        "ip_address log fees authorization customer plan id"
    )
    return {name: full[name] for name in names.split()}


def _asks(tx: Transaction, word: str) -> Json:
    """A charge that asks the payer for an input."""
    return {"reference": tx.reference, "status": word, "display_text": f"Please send {word.removeprefix('send_')}"}


def _offline(number: int, tx: Transaction, way: str) -> Json:
    """A charge that is paid without any page."""
    step: Json = {"reference": tx.reference, "status": "pay_offline"}
    if way == "ussd":
        code = f"*737*33*4*{number}#"
        text = f"Please dial {code} on your mobile phone to complete the transaction"
        return {**step, "display_text": text, "ussd_code": code}
    if way == "mobile_money":
        return {**step, "display_text": "Please complete authorization process on your mobile phone"}
    return {
        **step,
        "status": "pending_bank_transfer",
        "display_text": "Please make a transfer to the account specified",
        "account_name": "PAYSTACK CHECKOUT",
        "account_number": f"{number:010d}",
        "bank": {"slug": "test-bank", "name": "Test Bank", "id": 24},
        "account_expires_at": iso_time(tx.created_at + 1800),
    }
