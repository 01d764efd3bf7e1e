"""The host's return address with the result of the payment: adds three parameters and keeps all other bytes."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, unquote_plus, urlsplit

# Both IDNA versions encode these differently; the browser decides, as it does for a link on a page.
_DEVIATIONS = frozenset("ßς\u200c\u200d")
_ASCII = "".join(chr(code) for code in range(0x21, 0x7F))


def with_result(address: str, result: Mapping[str, str]) -> str:
    """Append each parameter of ``result`` to the query of ``address`` exactly once, after all others.

    Removes parameters of the same names that the host put there, however they are percent-encoded: most readers take
    the first value of a name. Nothing else is decoded and encoded again, since a signature may cover it.
    """
    before_fragment, hash_sign, fragment = address.partition("#")
    path, _, query = before_fragment.partition("?")
    kept = "&".join(part for part in query.split("&") if _name_of(part) not in result)
    ours = "&".join(f"{name}={quote(value, safe='')}" for name, value in result.items())
    joint = "&" if kept and not kept.endswith("&") and ours else ""
    return f"{path}?{kept}{joint}{ours}{hash_sign}{fragment}"


def _name_of(part: str) -> str:
    return unquote_plus(part.partition("=")[0])


def as_header(address: str) -> str:
    """An address as the value of a ``Location`` header: ASCII stays unchanged, the rest is encoded as a browser does."""
    host = urlsplit(address).hostname or ""
    if not host.isascii() and not _DEVIATIONS & set(host):
        scheme, marks, rest = address.partition("://")
        authority_end = min((at for mark in "/?#" if (at := rest.find(mark)) >= 0), default=len(rest))
        given = rest[:authority_end]
        port = given[given.rindex(":") :] if ":" in given else ""
        address = f"{scheme}{marks}{host.encode('idna').decode()}{port}{rest[authority_end:]}"
    return quote(address, safe=_ASCII)
