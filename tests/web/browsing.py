"""A browser without a browser: cookies, forms with their hidden fields, and where an answer leads. For tests of the pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import aiohttp

from polytill.flows.admin import staff
from polytill.storage.staff import StaffDb
from tests.installation import Installation
from tests.web.support import Page

PASSWORD = "correct-horse-battery"


class _Forms(HTMLParser):
    """Every form's action and the fields that a browser would send with it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: dict[str, dict[str, list[str]]] = {}
        self._in: dict[str, list[str]] | None = None
        self._select = self._area = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        a: dict[str, Any] = dict(attrs)
        if tag == "form":
            self._in = self.forms.setdefault(a.get("action") or "", {})
        if self._in is None or "disabled" in a:
            return
        name = a.get("name")
        if tag == "select":
            self._select = name or ""
        elif tag == "option" and self._select and ("selected" in a or self._select not in self._in):
            self._in[self._select] = [a.get("value") or ""]
        elif tag == "input" and name:
            if a.get("type") in ("checkbox", "radio") and "checked" not in a:
                return
            self._in.setdefault(name, []).append(a.get("value") or "")
        elif tag == "textarea" and name:
            self._in.setdefault(name, [""])
            self._area = name

    def handle_data(self, data: str) -> None:
        if self._area and self._in is not None:
            self._in[self._area][0] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._area = ""
        if tag == "form":
            self._in = None
        elif tag == "select":
            self._select = ""


@dataclass
class Seen:
    """One page as it was answered."""

    status: int
    html: str
    headers: Any
    address: str

    @property
    def text(self) -> str:
        """What it says."""
        return Page(self.html).text

    @property
    def done(self) -> str:
        """What the page that it leads to will say was done, by its text key."""
        set_here = [
            c.partition("=")[2] for c in self.headers.getall("Set-Cookie", []) if c.startswith("polytill_done=")
        ]
        return set_here[0].strip('"').partition("|")[0] if set_here else ""

    @property
    def said(self) -> tuple[str, str]:
        """The text key of the banner on this page, and its tone."""
        found = re.search(r'class="notice (\w+)"[^>]*data-done="(\w+)"', self.html)
        return (found[2], found[1]) if found else ("", "")

    @property
    def forms(self) -> dict[str, dict[str, list[str]]]:
        """Its forms by action."""
        return _Forms(self.html).forms


class Browser:
    """One browser with its own cookies."""

    def __init__(self, house: Installation) -> None:
        self.house = house
        self.jar = aiohttp.CookieJar(unsafe=True)
        self.http = aiohttp.ClientSession(cookie_jar=self.jar, headers={"Accept-Language": "en"})

    async def __aenter__(self) -> Browser:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    async def _seen(self, method: str, path: str, **options: Any) -> Seen:
        async with self.http.request(method, self.house.url + path, allow_redirects=False, **options) as answer:
            return Seen(answer.status, await answer.text(), answer.headers.copy(), path)

    async def get(self, path: str, **headers: str) -> Seen:
        """A page."""
        return await self._seen("GET", path, headers=headers)

    async def post(self, path: str, fields: dict[str, Any], headers: dict[str, str] | None = None) -> Seen:
        """A form, sent as a browser does: with the origin of our own pages unless said otherwise."""
        sent = {"Origin": self.house.url, **(headers or {})}
        pairs = [(n, str(v)) for n, value in fields.items() for v in (value if isinstance(value, list) else [value])]
        return await self._seen("POST", path, headers={k: v for k, v in sent.items() if v}, data=pairs)

    async def send(self, page_path: str, form: str, /, **fields: Any) -> Seen:
        """Load a page, fill its form in, and send it."""
        page = await self.get(page_path)
        assert page.status == 200, (page.status, page.text[:300])
        return await self.post(form or page_path, {**page.forms[form], **fields})

    async def sign_in(self, door: str, email: str, password: str = PASSWORD) -> Seen:
        """Through the door."""
        return await self.post(f"{door}/login", {"email": email, "password": password, "next": ""})


async def person(house: Installation, db: StaffDb, email: str, role: str = "admin", name: str = "") -> None:
    """Somebody who can sign in with ``PASSWORD``."""
    link = await staff.invite(house.till.context, db, email, name, role, "test")
    await staff.choose_password(house.till.context, db, link.rpartition("/")[2], PASSWORD)
