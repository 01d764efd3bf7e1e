"""Database addresses: what is wrong with one, in a sentence that never quotes it, because it contains a password."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit, urlunsplit

POSTGRES = ("postgresql://", "postgres://")
_SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+:")
_UNSEEN = re.compile(r"[\x00-\x20\x7f]")
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


def wrong_with_cluster(address: str) -> str | None:
    """What is wrong with the address of a cluster, which is an absolute directory or a server. None if it can be
    tried."""
    if not is_postgres(address):
        if address.startswith("/") and address.isprintable():
            return None
        return "The address of a server starts with postgresql://, and that of a directory for SQLite files with /."
    if (wrong := wrong_with_server(address)) is not None:
        return wrong
    if len(hosts_of(address)) > 1 and primary_only(address) not in ("read-write", "primary"):
        return "Connections must lead to the primary of several hosts: leave target_session_attrs out."
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
    if any(_UNSEEN.search(unquote(part)) for part in (parts.netloc, parts.path, parts.query)):
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


def hosts_of(url: str) -> list[str]:
    """The hosts of a server's address, each with its port if that is written."""
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    if hosts := parts.netloc.rpartition("@")[2]:
        return [host for host in hosts.split(",") if host]
    found = [host for host in ",".join(options.get("host", [])).split(",") if host]
    ports = ",".join(options.get("port", [])).split(",")  # one for all, or one for each
    if len(ports) != len(found):
        ports = ports[:1] * len(found)
    return [f"{host}:{port}" if port and "/" not in host else host for host, port in zip(found, ports, strict=True)]


def primary_only(url: str) -> str:
    """The ``target_session_attrs`` with which an address is used: of several hosts, only the one that can be written,
    unless the address says otherwise."""
    given = parse_qs(urlsplit(url).query).get("target_session_attrs")
    return given[-1] if given else "read-write" if len(hosts_of(url)) > 1 else "any"


def at_host(url: str, host: str, attributes: str = "any") -> str:
    """The address of one of several hosts, with these ``target_session_attrs``."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    options = [(name, value) for name, values in parse_qs(parts.query).items() for value in values]
    kept = [(name, value) for name, value in options if name not in ("host", "port", "target_session_attrs")]
    kept += [("target_session_attrs", attributes)] if attributes != "any" else []
    return urlunsplit((parts.scheme, f"{user}{at}{host}", parts.path, urlencode(kept, quote_via=quote), ""))


def is_pooled(url: str) -> bool:
    """Whether an address says that it leads to a pooler in transaction mode."""
    return parse_qs(urlsplit(url).query).get("pgbouncer") == ["true"]


def shown_place(location: str) -> str:
    """Where a cluster is, for people: the hosts of its server, or its directory. Never user, password or options."""
    return ", ".join(hosts_of(location)) if is_postgres(location) else location


def place_of(url: str) -> str:
    """User, hosts and database name of an address, for messages: never the password."""
    parts = urlsplit(url)
    user, _, hosts = parts.netloc.rpartition("@")
    name = unquote(user.partition(":")[0])
    database = unquote(parts.path.lstrip("/"))
    where = hosts or ",".join(parse_qs(parts.query).get("host", ["?"]))
    return f"{where}/{database}" + (f" as user {name!r}" if name else "")
