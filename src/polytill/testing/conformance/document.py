"""The matrix of providers by checks, as text for the terminal and as the page ``docs/providers.md``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

from polytill.domain.currencies import CURRENCIES
from polytill.domain.money import Money, ppm_to_percent
from polytill.providers.contract import CurrencyTerms, CustomerFields, Handler
from polytill.providers.features import FEATURES, features_of
from polytill.testing.conformance.declared import ways_of
from polytill.testing.conformance.described import contract_tables
from polytill.testing.conformance.subjects import SUBJECTS
from polytill.testing.conformance.suite import Result, in_order

MARKS: dict[bool | None, str] = {True: "pass", False: "FAIL", None: "–"}
Results = Mapping[str, list[Result]]
Handlers = list[type[Handler]]


KEY_TESTS = """## What a test of keys finds

A credential test creates nothing and moves no money. It returns `ok` and, if it found a problem, a `finding`.

| | checked | cannot be checked without a payment |
| --- | --- | --- |
| Stripe | the key and its mode; live: `charges_enabled`; restricted keys: the permissions to create payments and refunds; the \
publishable key, by the account's newest payment | whether a publishable key belongs to the same account, if the account has \
no payment yet |
| PayPal | client ID and secret, at the host of the environment; whether the app may use orders; the scope of refunds | whether \
the account may receive money |
| Paystack | the secret key; whether the account is active, by an initialize without parameters | the account, if Paystack \
checks the parameters first; the public key, which is not used |
| Flutterwave | the secret key; whether the account is approved, by a payment without parameters; the shape of the encryption \
key and that the secret hash is not a key | the account, if Flutterwave checks the parameters first; the secret hash, which \
the first webhook compares with the dashboard |
| Flutterwave v4 | client ID and secret; that they belong to this environment, by a list of refunds | whether the account is \
approved |
| M-Pesa | consumer key and secret; short code and passkey, by a status query | the passkey and the till, for certain |
"""

SERVER_ERRORS = """## Rejections with HTTP 500

An answer with 500 to 599 leaves the outcome unknown, because the call may have been executed. The exceptions are bodies that \
prove a rejection. If the outcome stays unknown, a review case opens within an hour.

* **M-Pesa:** the three messages that reject a push before anyone is prompted (`Wrong credentials`, \
`Merchant does not exist`, `unable to lock subscriber`), each with an `errorCode`, and `500.003.02` (too many requests). \
`500.001.1001` alone proves nothing: with its own message, the prompt is still open.
* **PayPal:** creating an order and capturing: the body of a rejection (`UNPROCESSABLE_ENTITY` with `debug_id`) in which \
every issue is known. PayPal's schema has no `details` in an internal error. An order that exists is read again, and a \
decline counts only if the order has no capture. A refund stays unknown; its lookup reads the order's refunds.
* **Stripe:** none. Stripe calls the result of a 500 indeterminate, and stores it under the idempotency key.
* **Paystack, Flutterwave, Flutterwave v4:** none. No rejection with a 500 is documented; declines have other statuses. \
The lookup verifies by our reference.
"""


def matrix_text(results: Results) -> str:
    """One line for each check, one column for each provider, then the sums, then the problems."""
    codes = list(results)
    lines = [f"{'':11}{'':46}" + "".join(f"{code:>15}" for code in codes)]
    for row, check in enumerate(in_order()):
        marks = "".join(f"{MARKS[results[code][row].passed]:>15}" for code in codes)
        lines.append(f"{check.area:11}{check.name:46}{marks}")
    lines.append(f"{'passed':57}" + "".join(f"{_passed(found):>15}" for found in results.values()))
    lines += [
        f"{code}: {result.check.name}: {result.problem}"
        for code, found in results.items()
        for result in found
        if result.passed is False
    ]
    return "\n".join(lines) + "\n"


def _passed(found: list[Result]) -> str:
    return f"{sum(result.passed is True for result in found)} of {len(found)}"


def write_document(results: Results) -> str:
    """The page: capabilities of each provider, its currencies, the inputs and outputs of a handler, and the checks."""
    handlers = [fixture.handler for fixture in SUBJECTS if fixture.handler.code in results]
    head = (
        "# Providers\n\nWritten by `python -m polytill.testing.conformance --write docs/providers.md` from the code; "
        "a test fails if it is out of date.\n"
    )
    sections = [_capabilities(handlers), _currencies(handlers), KEY_TESTS, SERVER_ERRORS, contract_tables()]
    return "\n".join([head, *sections, _matrix(results)])


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _capabilities(handlers: Handlers) -> str:
    rows = [[feature, *("yes" if feature in features_of(cls) else "–" for cls in handlers)] for feature, _ in FEATURES]
    facts: tuple[tuple[str, Callable[[type[Handler]], str]], ...] = (
        ("idempotency", lambda cls: str(cls.idempotency)),
        ('"not found" is proof after', lambda cls: f"{cls.settle_horizon_s:g} s"),
        ("a create alone moves money", lambda cls: "yes" if cls.create_moves_money else "no"),
        ("proof of a webhook", lambda cls: str(cls.webhook_proof)),
        ("keys are sent to", lambda cls: ", ".join(f"`{host}`" for host in sorted(cls.hosts)) or "no host"),
        ("methods", lambda cls: ", ".join(cls.catalog.methods)),
    )
    rows += [[name, *(tell(cls) for cls in handlers)] for name, tell in facts]
    table = _table(["", *(cls.name for cls in handlers)], rows)
    return "\n".join(
        [
            "## Capabilities\n\n" + table,
            _listed("What a provider needs to know of the customer", handlers, _needs),
            _listed("What can be charged without the provider's page", handlers, _direct),
        ]
    )


def _listed(title: str, handlers: Handlers, tell: Callable[[type[Handler]], str]) -> str:
    """One line for each provider: these texts are too long for the cells of a table."""
    return f"### {title}\n\n" + "".join(f"* **{cls.name}:** {tell(cls)}.\n" for cls in handlers)


def _needs(cls: type[Handler]) -> str:
    """The customer fields: those that most payments need, then the methods that need others."""
    found = defaultdict[str, list[tuple[str, str]]](list)
    for code, method, direct in ways_of(cls):
        name = f"{method or 'any method'}{' without its page' if direct else ''}"
        found[_fields(cls.customer_fields(code, method, direct))].append((name, code))
    usual = max(found, key=lambda text: len(found[text]))
    others = [f"{text} for {_grouped(pairs)}" for text, pairs in found.items() if text != usual]
    return "; ".join([usual, *others])


def _grouped(pairs: list[tuple[str, str]]) -> str:
    by_name = defaultdict[str, list[str]](list)
    for name, code in pairs:
        by_name[name].append(code)
    return ", ".join(f"{name} ({', '.join(codes)})" for name, codes in by_name.items())


def _fields(fields: CustomerFields) -> str:
    return ", ".join(filter(None, [*fields.required, " or ".join(fields.one_of)])) or "nothing"


def _direct(cls: type[Handler]) -> str:
    told = (
        f"{method} ({currency}{': ' if details else ''}{', '.join(f'`{name}`' for name in details)})"
        for (currency, method), details in sorted(cls.direct_charges.items())
    )
    return ", ".join(told) or "nothing"


def _currencies(handlers: Handlers) -> str:
    handlers = [cls for cls in handlers if cls.hosts]  # staff accept any currency
    codes = sorted({code for cls in handlers for code in cls.catalog.currencies})
    rows = [
        [code, str(CURRENCIES[code].exponent), *(_terms(code, cls.catalog.currencies.get(code)) for cls in handlers)]
        for code in codes
    ]
    text = (
        "\nDecimals of ISO 4217, then list price, smallest and largest amount, if the provider publishes them. "
        "These are the terms of a new catalog; the owner can set the terms of further currencies: "
        f"{_further(handlers)}. No other currency can be added to a provider.\n"
    )
    return f"## Currencies\n{text}\n" + _table(["", "decimals", *(cls.name for cls in handlers)], rows)


def _further(handlers: Handlers) -> str:
    told = [f"{cls.name} {', '.join(sorted(cls.further_currencies))}" for cls in handlers if cls.further_currencies]
    return "; ".join(told)


def _terms(code: str, terms: CurrencyTerms | None) -> str:
    if terms is None:
        return "–"
    parts = ((" + ", terms.fixed_minor), (", from ", terms.min_minor), (", to ", terms.max_minor))
    told = "".join(f"{word}{Money(minor, code)}" for word, minor in parts if minor)
    return f"{ppm_to_percent(terms.percent_ppm)} %{told}"


def _matrix(results: Results) -> str:
    rows = [
        [
            check.area,
            f"`{check.name}`",
            check.sentence.replace("|", "\\|").replace("\n", " "),
            *(MARKS[found[place].passed] for found in results.values()),
        ]
        for place, check in enumerate(in_order())
    ]
    sums = ", ".join(f"{code} {_passed(found)}" for code, found in results.items())
    text = f"\n{len(rows)} checks; passed: {sums}. A dash: the check does not apply to the handler.\n"
    return f"## Checks\n{text}\n" + _table(["", "check", "what it checks", *results], rows)
