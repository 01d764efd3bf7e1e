"""Links in the documents are valid: the file exists and, with a fragment, the heading in it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.house.reading import ROOT, tracked_files

_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.S)
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.M)


def _anchors(text: str) -> set[str]:
    """The fragments of a document's headings, as code hosts make them."""
    found: set[str] = set()
    for title in _HEADING.findall(_CODE.sub(lambda code: code[0].strip("`") if "\n" not in code[0] else "", text)):
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        number = 0
        while (name := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(name)
    return found


def broken_links(name: str, text: str) -> Iterator[str]:
    """Each link of a document to a file or heading that does not exist."""
    for match in _LINK.finditer(_CODE.sub("", text)):
        target = match[1] or match[2]
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, fragment = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        if not file.exists():
            yield f"{name} links to {target}, which does not exist."
        elif fragment and file.suffix == ".md":
            anchors = _anchors(text if not path else file.read_text("utf-8"))
            if fragment not in anchors:
                yield f"{name} links to {target}, but {file.name} has no such heading."


def _documents() -> dict[str, str]:
    return {name: text for name, text in tracked_files().items() if name.endswith(".md") and "fixtures" not in name}


def test_every_link_leads_somewhere() -> None:
    documents = _documents()
    assert {"README.md", "CONTRIBUTING.md", "docs/architecture.md"} <= set(documents)
    broken = [sentence for name, text in documents.items() for sentence in broken_links(name, text)]
    assert not broken, "\n" + "\n".join(broken)


def test_a_broken_link_is_found() -> None:
    text = "# A title\n[a](no-such-file.md) [b](#a-title) [c](#no-such-title) ![d](docs/none.png) `[e](code.md)`"
    broken = list(broken_links("README.md", text))
    assert [sentence.split()[3].rstrip(",") for sentence in broken] == [
        "no-such-file.md",
        "#no-such-title",
        "docs/none.png",
    ]
