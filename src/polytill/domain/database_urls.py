"""Database addresses: what is wrong with one, in a sentence that never quotes it, because it contains a password."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlsplit

POSTGRES = ("postgresql://", "postgres://")
_SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+:")
_UNSEEN = re.compile(r"[\x00-\x20\x7f]")
# The options of an address that this program interprets, besides host names and the like.
_HOST = re.compile(r"^[A-Za-z0-9_.-]+$|^\[[0-9A-Fa-f:.%]+\]$")


def is_postgres(url: str) -> bool:
    """Whether an address is that of a PostgreSQL server."""
    return url.startswith(POSTGRES)


def wrong_with_owner(url: str) -> str | None:
    """What is wrong with the address of the owner database. None if it can be tried."""
    if is_postgres(url):
        wrong = wrong_with_server(url)
        if wrong is None and not urlsplit(url).path.strip("/"):
            return "The address names no database: postgresql://user:password@host:port/DATABASE."
        return wrong
    if not url.startswith("sqlite:///"):
        return "A database address starts with sqlite:/// or postgresql://."
    path = url.removeprefix("sqlite:///")
    if not path or path.endswith("/") or "\x00" in path:
        return "The address names no file: sqlite:///path/to/owner.db."
    return None


def wrong_with_place(place: str) -> str | None:
    """What is wrong with the location of practice databases, which is a directory or the address of a PostgreSQL
    server."""
    if is_postgres(place):
        return wrong_with_server(place)
    if not place or "\x00" in place or _SCHEME.match(place):
        return "Give a directory for SQLite files, or the address of a server: postgresql://user:password@host:port."
    return None


def wrong_with_server(url: str) -> str | None:
    """What is wrong with the address of a PostgreSQL server. None if it can be tried."""
    if not is_postgres(url):
        return "The address of a server starts with postgresql://."
    if _UNSEEN.search(url) or not url.isprintable():
        return "The address contains a space or a control character; write it percent-encoded, such as %20."
    if "#" in url:
        return "The address contains a #; in a password write it as %23."
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        return "The address is malformed: postgresql://user:password@host:port/database."
    hosts = parts.netloc.rpartition("@")[2]
    if not hosts and not options.get("host"):
        return "The address names no host: postgresql://user:password@host:port."
    if any(_UNSEEN.search(unquote(part)) for part in (parts.netloc, parts.path)):
        return "The address contains a space or a control character."
    if "/" in parts.path.lstrip("/"):
        return "The address names more than a database after the host; in a password write / as %2F."
    for one in hosts.split(",") if hosts else ():
        host, _, port = one.rpartition(":") if re.search(r":[^\]]*$", one) else (one, "", "")
        if not _HOST.match(host):
            return "The host in the address is malformed; in a password write / as %2F, ? as %3F and @ as %40."
        if re.search(r":[^\]]*$", one) and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            return "The port in the address is not a number from 1 to 65535."
    return None


def place_of(url: str) -> str:
    """User, hosts and database name of an address, for messages: never the password."""
    parts = urlsplit(url)
    user, _, hosts = parts.netloc.rpartition("@")
    name = unquote(user.partition(":")[0])
    database = unquote(parts.path.lstrip("/"))
    where = hosts or ",".join(parse_qs(parts.query).get("host", ["?"]))
    return f"{where}/{database}" + (f" as user {name!r}" if name else "")
