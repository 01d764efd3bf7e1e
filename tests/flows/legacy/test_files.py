"""JSON and CSV files with a host application's practices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polytill.domain.errors import PolytillError
from polytill.flows.legacy import files
from polytill.flows.legacy.files import UNREADABLE, FileSource
from polytill.storage.host_columns import HostError
from polytill.storage.host_field import HostRow, Table

ROW = {"id": 1, "name": "A", "paymentProviders": {"a": '\u20ac]}"[{\\'}}


async def rows_of(path: Path, table: Table | None = None) -> list[HostRow]:
    source = FileSource(path, table or Table())
    return [row async for row in source.rows(list(dict.fromkeys(await source.ids())))]


def fields(rows: list[HostRow]) -> list[Any]:
    return [row.values.get("paymentProviders") for row in rows]


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
async def test_json_is_read_in_pieces_of_any_size(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_CHUNK", chunk)
    raw = '{"deep":  [1, "\\u0041\\\\"]}'
    texts = [
        json.dumps(ROW, ensure_ascii=False),
        '{"id":"2" , "paymentProviders" :' + raw + "}",
        '{"id": 3, "paymentProviders": null}',
    ]
    for name, text in (
        ("list.json", "\ufeff [ " + " ,\n".join(texts) + "]\n "),
        ("lines.jsonl", "\n".join(texts) + "\n"),
        ("close.json", "".join(texts)),
    ):
        (tmp_path / name).write_text(text, "utf-8")
        found = await rows_of(tmp_path / name)
        assert [row.external_id for row in found] == ["1", "2", "3"]
        assert json.loads(fields(found)[0]) == ROW["paymentProviders"]
        assert fields(found)[1:] == [raw, "null"]  # the text of the field itself


@pytest.mark.parametrize(
    "text",
    ["", " ", "7", "null", '"a"', "[", "[1", "[{}", '[{"id": 1}', "[{},]", "[{} {}]", "[{}] x", "[{]", '[{"a": "]', '[{"a" 1}]',
     "[,]",      "{", '{"id": 1}}', "[nul]", '[{"id": 1, "paymentProviders": {}}, {"id": 2, "paymentProviders": {x}}]'],
)  # fmt: skip
async def test_a_file_that_is_no_json_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    try:
        found = await rows_of(tmp_path / "a.json")
    except PolytillError:  # a sentence
        return
    assert all(UNREADABLE in row.values for row in found)


async def test_an_item_that_is_no_practice_is_only_its_own_problem(tmp_path: Path) -> None:
    good = '{"id": 1, "paymentProviders": {}}'
    deep = '{"id": 2, "paymentProviders": ' + "[" * 10_000 + "]" * 10_000 + "}"
    long = '{"id": 3, "paymentProviders": "' + "x" * 20_000_000 + '"}'
    (tmp_path / "a.json").write_text(
        f'[{good}, {deep}, {long}, 7, [], {{"id": 4}}, {{"paymentProviders": {{}}}}, {good}]'
    )
    found = await rows_of(tmp_path / "a.json")
    assert [UNREADABLE in row.values for row in found] == [False, True, True, True, True, True, True, False]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
async def test_csv(tmp_path: Path, mark: str, delimiter: str) -> None:
    field = '{"paystack": {"secretKey": "a;b,c\td\n"}}'
    lines = [
        ["practice_id", "Name", "Payment Providers", "currency"],
        ["1", "A", f'"{field.replace(chr(34), chr(34) * 2)}"', "NGN"],
        ["2", "B", "", ""],
    ]
    (tmp_path / "a.csv").write_text(mark + "\r\n".join(delimiter.join(line) for line in lines), "utf-8", newline="")
    found = await rows_of(tmp_path / "a.csv")
    assert [(row.external_id, row.values["name"], row.values["defaultCurrency"]) for row in found] == [
        ("1", "A", "NGN"),
        ("2", "B", None),
    ]
    assert fields(found) == [field, None]


async def test_csv_that_is_malformed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,paymentProviders\n1,{}\n2\n3,{},x\n\n4,{}\n")
    found = await rows_of(path)
    assert [(row.external_id, UNREADABLE in row.values) for row in found] == [
        ("1", False),
        ("2", True),
        ("3", True),
        ("4", False),
    ]
    path.write_text("id,paymentProviders\n1," + "x" * 20_000_000 + "\n2,{}\n")
    assert [len(text) for text in fields(await rows_of(path))] == [20_000_000, 2]
    for text in ("", "\n", "id,name\n1,a\n", 'id,paymentProviders\n1,"{', 'id,paymentProviders\n1,"{"x\n'):
        path.write_text(text)
        with pytest.raises(HostError):
            await rows_of(path)
    path.write_bytes(b"id,paymentProviders\n1,\xff\n")
    with pytest.raises(HostError, match="UTF-8"):
        await rows_of(path)


async def test_columns_with_unusual_names(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"nr": 5, "PSP": {"x": 1}}]')
    table = Table(columns={"externalId": "nr", "paymentProviders": "psp"})
    [row] = await rows_of(tmp_path / "a.json", table)
    assert (row.external_id, fields([row])) == ("5", ['{"x": 1}'])
    with pytest.raises(HostError, match="written"):
        await FileSource(tmp_path / "a.json", table).write_field("5", "{}", "[]")
