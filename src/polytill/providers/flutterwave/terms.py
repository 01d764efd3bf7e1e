"""Flutterwave's terms as data: what v3 and v4 have in common."""

from __future__ import annotations

from collections.abc import Iterable

from polytill.providers.contract import CurrencyTerms, KeyField

_LOCAL_FEES_PPM = {"NGN": 14_000, "GHS": 19_500, "KES": 29_000}
_OTHER_FEE_PPM = 38_000  # the price of a foreign card
_WORD = "[!-~]([ -~]{0,198}[!-~])?"  # a header would lose a space at either end

WEBHOOK_SECRET = KeyField("Secret hash", _WORD, _WORD, help="Flutterwave dashboard → Settings → Webhooks → Secret hash")


def terms_in(currencies: Iterable[str]) -> dict[str, CurrencyTerms]:
    """The terms of these currencies."""
    return {
        code: CurrencyTerms(_LOCAL_FEES_PPM.get(code, _OTHER_FEE_PPM), recommended=code == "NGN") for code in currencies
    }
