"""``polytill legacy``: sources, output, exit status, and what is never printed."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from polytill.flows.legacy.mapping_file import SCHEMA
from tests.cli.process import one_sentence, polytill
from tests.house.reading import ROOT
from tests.installation import TEST_KEYS

SECRET = TEST_KEYS["paystack"]["secretKey"]
GOOD = json.dumps({"paystack": {**TEST_KEYS["paystack"], "enabled": True, "currencies": ["NGN"], "env": "test"}})
BAD = json.dumps({"paystack": {**TEST_KEYS["paystack"], "env": "live"}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation, and a host's SQLite file."""
    found = tmp_path_factory.mktemp("legacy")
    assert polytill(found, "migrate").returncode == 0
    with sqlite3.connect(found / "host.db") as host:
        host.execute('CREATE TABLE "pay Rolls" (id text, name text, currency text, "payment_Providers" text)')
        rows = [("a", "A", "NGN", GOOD), ("b", "[/red]", "NGN", BAD), ("c", "C", "NGN", "")]
        host.executemany('INSERT INTO "pay Rolls" VALUES (?, ?, ?, ?)', rows)
    (found / "mapping.json").write_text('{"source": {"table": "pay Rolls"}}')
    return found


def test_plan_import_and_again(folder: Path) -> None:
    asked = ("legacy", "import", "env:HOST_DB", "--mapping", "mapping.json")
    more = {"HOST_DB": f"sqlite:///{folder}/host.db"}
    plan = polytill(folder, *asked, "--dry-run", **more)
    assert plan.returncode == 1  # one is held up
    assert "2 to create" in plan.stdout
    assert "key_of_other_environment" in plan.stdout
    assert not (folder / "polytill-import-keys.jsonl").exists()
    done = polytill(folder, *asked, "--json", **more)
    *lines, summary = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["externalId"], one["action"]) for one in lines] == [("a", "create"), ("b", "held_up"), ("c", "create")]
    assert lines[0]["added"] == ["paystack"]
    assert lines[1]["findings"][0] == {
        "type": "key_of_other_environment",
        "severity": "wrong",
        "pointer": "/paymentProviders/paystack",
        "detail": lines[1]["findings"][0]["detail"],
    }
    assert (summary["summary"]["create"], summary["summary"]["held_up"]) == (2, 1)
    keys = [json.loads(line) for line in (folder / "polytill-import-keys.jsonl").read_text().splitlines()]
    assert [one["externalId"] for one in keys] == ["a", "c"]
    with sqlite3.connect(folder / "host.db") as host:
        host.execute("DELETE FROM \"pay Rolls\" WHERE id = 'b'")
    again = polytill(folder, *asked, **more)
    assert (again.returncode, "2 unchanged" in again.stdout) == (0, True)
    for one in (plan, done, again):
        assert SECRET not in one.stdout + one.stderr
        assert keys[0]["key"] not in one.stdout + one.stderr


def test_keys_that_could_not_be_checked_are_counted_with_the_reason(folder: Path) -> None:
    with sqlite3.connect(folder / "var" / "owner.db") as owner:  # an address that may not be sent keys: nobody is asked
        owner.execute("UPDATE payment_providers SET api_base_url = 'https://127.0.0.1:1', sandbox_api_base_url = NULL")
    rows = [{"id": one, "name": one, "currency": "NGN", "paymentProviders": GOOD} for one in ("f", "g")]
    (folder / "checked.jsonl").write_text("\n".join(json.dumps(one) for one in rows))
    asked = ("legacy", "import", "checked.jsonl", "--dry-run", "--check-keys")
    first, _, summary = [json.loads(line) for line in polytill(folder, *asked, "--json").stdout.splitlines()]
    [detail] = [one["detail"] for one in first["findings"] if one["type"] == "key_not_checked"]
    assert summary["summary"]["findings"]["note: key_not_checked"] == 2
    shown = " ".join(polytill(folder, *asked).stdout.split())
    assert shown.count(detail) == 1


def test_files_are_sources_too(folder: Path) -> None:
    (folder / "more.csv").write_text('id,name,currency,payment_providers\nd,D,NGN,"{}"\n', "utf-8-sig")
    (folder / "more.jsonl").write_text('{"id": "e", "name": "E", "currency": "NGN", "paymentProviders": {}}\n')
    done = polytill(folder, "legacy", "import", "more.csv", "more.jsonl", "--keys-file", "more.keys")
    assert (done.returncode, "2 created" in done.stdout) == (0, True)
    assert len((folder / "more.keys").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (("nowhere.json",), {}, "No such file"),
        (("env:HOST_DB",), {}, "not set"),
        (("env:HOST_DB",), {"HOST_DB": "postgresql://a:hunter2@127.0.0.1:1/x"}, "127.0.0.1:1/x"),
        (("env:HOST_DB",), {"HOST_DB": "hunter2"}, "sqlite:///"),
        (("-",), {}, "Standard input"),
        (("postgresql://a:hunter2@127.0.0.1:1/x",), {}, "env:NAME"),
        (("more.csv", "--mapping", "nowhere"), {}, "mapping"),
        (("more.csv", "--mapping", "host.db"), {}, "not JSON"),
        (("host.db",), {}, "no such table"),
        ((".",), {}, "directory"),
    ],
)
def test_a_wrong_source_is_one_sentence(
    folder: Path, arguments: tuple[str, ...], variables: dict[str, str], words: str
) -> None:
    said = one_sentence(polytill(folder, "legacy", "import", *arguments, **variables))
    assert words in said
    assert "hunter2" not in said


def test_the_schema_of_the_mapping_is_published(folder: Path) -> None:
    assert json.loads(polytill(folder, "legacy", "mapping-schema").stdout) == SCHEMA
    assert json.loads((ROOT / "docs/legacy-mapping.schema.json").read_text("utf-8")) == SCHEMA, (
        "write it with: polytill legacy mapping-schema > docs/legacy-mapping.schema.json"
    )
