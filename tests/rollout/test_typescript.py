"""The example for old TypeScript code, run by Node: against the service, and against servers that do not behave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from polytill.domain.rollout import DifferenceReason, RolloutPhase
from polytill.flows.rollout import moves, readers
from polytill.storage import practice_rollouts, rollout_differences
from tests.installation import Installation, running
from tests.rollout import compiler
from tests.rollout.compiler import EXAMPLE, ROOT
from tests.rollout.scene import a_field

pytestmark = pytest.mark.asyncio(loop_scope="module")
Json = dict[str, Any]
PAYMENT = {"currency": "NGN", "amount": 500_000, "paymentMethod": "card"}
# Without its time limits (200 and 600 ms here) a call to a server that never answers has no end.
SOON_MS = 20_000
# The service answers as fast as the machine allows, so its calls have more time.
PATIENT = {"choiceMs": SOON_MS, "callMs": SOON_MS}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    why_not = compiler.install_compiler()
    if why_not is not None:
        pytest.fail(why_not, pytrace=False)
    folder = tmp_path_factory.mktemp("typescript")
    compiler.compile_example(folder)
    return folder


async def drive(compiled: Path, *scenes: Json) -> list[Json]:
    """Run scenes in one Node, at once."""
    node = compiler.find_node()
    assert node is not None
    process = await asyncio.create_subprocess_exec(
        *(node, str(Path(__file__).parent / "drive.mjs"), str(compiled), json.dumps(scenes)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    return list(json.loads(out))


# ── Against the service ──


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory, compiled: Path) -> AsyncIterator[Installation]:
    async with running(tmp_path_factory.mktemp("service"), codes=["stripe", "paystack"]) as found:
        yield found


async def test_old_code_takes_part_in_a_rollout(house: Installation, compiled: Path) -> None:
    practice_id, key = await house.practice("Clinic", "NGN")
    context = house.till.context
    scene = {"url": house.url, "keys": {practice_id: key}, "reporter": practice_id, "options": PATIENT}

    async def told(*calls: list[Any]) -> list[Json]:
        [found] = await drive(compiled, {**scene, "calls": calls})
        return list(found["results"])

    found = await told(["choose", practice_id, PAYMENT], ["writeField", practice_id, a_field()])
    assert found[0]["result"] == {"use": "legacy"}  # not in the rollout yet
    assert found[1]["result"]["outcome"] == "refused"

    await moves.move(context, practice_id, RolloutPhase.legacy, "test")
    broken = a_field(paystack={"secretKey": "nonsense", "isEnabled": True})
    found = await told(
        ["saveProviders", practice_id, broken, "NGN"],
        ["saveProviders", practice_id, a_field(), "NGN"],
        ["pay", practice_id, PAYMENT, "r-0"],
    )
    assert found[0]["result"] != found[1]["result"] == "Saved."
    assert found[2]["result"] == "old code, paystack, r-0"

    await moves.move(context, practice_id, RolloutPhase.shadow, "test")
    decisions = [
        ["reportDecision", practice_id, {**PAYMENT, "providerCode": "Stripe", "reference": "r-1"}],
        ["reportDecision", practice_id, {**PAYMENT, "providerCode": "Stripe", "reference": "r-1"}],
        ["reportDecision", practice_id, {**PAYMENT, "providerCode": None, "reference": "r-2"}],
    ]
    found = await told(["pay", practice_id, PAYMENT, "r-0"], *decisions, ["countRead", "invoices"], ["flush"])
    assert found[0]["result"] == "old code, paystack, r-0"
    differences = {one.reference: one for one in await rollout_differences.listed(context.owner, practice_id)}
    assert {name: one.reason for name, one in differences.items()} == {
        "r-1": DifferenceReason.currency_missing,
        "r-2": DifferenceReason.legacy_chose_nothing,
    }
    known = await practice_rollouts.of_practice(context.owner, practice_id)
    assert known is not None
    assert known.agreements == 1
    counted = {one.caller: one.reads for one in (await readers.readers(context)).callers}
    assert counted == {"checkout": 2, "invoices": 1}

    await moves.move(context, practice_id, RolloutPhase.live, "test")
    changed = a_field()
    changed["paystack"]["isEnabled"] = False
    found = await told(
        ["choose", practice_id, PAYMENT],
        ["choose", practice_id, {"currency": "JPY"}],
        ["pay", practice_id, PAYMENT, "r-3"],
        ["writeField", practice_id, a_field()],
        ["writeField", practice_id, changed],
    )
    assert found[0]["result"] == {"use": "polytill", "providerCode": "paystack", "environment": "sandbox"}
    assert found[1]["result"] == {"use": "polytill", "providerCode": None, "environment": None}
    assert found[2]["result"] == "polytill, r-3"
    assert [one["result"]["outcome"] for one in found[3:]] == ["followed", "refused"]


# ── Against servers that do not behave ──

Behavior = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answers(body: str, status: str = "200 OK", *headers: str) -> Behavior:
    """A server with one answer for everything."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        sent = body.encode()
        head = [f"HTTP/1.1 {status}", f"Content-Length: {len(sent)}", "Connection: close", *headers]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + sent)
        await writer.drain()

    return behave


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def _hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def _trickles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _never_ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        writer.write(b" " * 65536)
        await writer.drain()


ELSEWHERE = answers("", "302 Found", "Location: http://127.0.0.1:1/")
BEHAVIORS: dict[str, Behavior] = {
    "silent": _silent,
    "hangs_up": _hangs_up,
    "trickles": _trickles,
    "never_ends": _never_ends,
    "fails": answers('{"code": "internal"}', "500 Internal Server Error"),
    "busy": answers('{"code": "busy"}', "503 Service Unavailable", "Retry-After: 2"),
    "html": answers("<html>Welcome</html>"),
    "empty": answers(""),
    "null": answers("null"),
    "list": answers("[1]"),
    "nothing": answers("{}"),
    "odd_use": answers('{"use": "both", "providerCode": "paystack", "environment": null}'),
    "no_code": answers('{"use": "polytill"}'),
    "odd_code": answers('{"use": "polytill", "providerCode": {"a": 1}, "environment": "sandbox"}'),
    "odd_environment": answers('{"use": "polytill", "providerCode": "paystack", "environment": "moon"}'),
    "redirects": ELSEWHERE,
    "other_status": answers('{"use": "polytill", "providerCode": "paystack", "environment": null}', "201 Created"),
}


@contextlib.asynccontextmanager
async def serving(behavior: Behavior) -> AsyncIterator[str]:
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await behavior(reader, writer)
        writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_nothing_that_polytill_does_stops_the_old_code(compiled: Path) -> None:
    """All servers at once, so that their time limits run together."""
    calls: list[list[Any]] = [
        ["choose", 7, PAYMENT],
        ["pay", 7, PAYMENT, "r-1"],
        ["reportDecision", 7, {**PAYMENT, "providerCode": None, "reference": "r-2"}],
        ["writeField", 7, a_field()],
        ["countRead", "invoices"],
        ["flush"],
    ]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    async with contextlib.AsyncExitStack() as stack:
        urls = {name: await stack.enter_async_context(serving(one)) for name, one in BEHAVIORS.items()}
        urls["dead"] = nobody
        scenes = [{"url": url, "keys": {"7": "pt_practice_x"}, "reporter": 7, "calls": calls} for url in urls.values()]
        found = await drive(compiled, *scenes)
    for name, one in zip(urls, found, strict=True):
        choose, pay, report, write, _, flush = one["results"]
        assert choose["result"] == {"use": "legacy"}, name
        assert choose["ms"] < SOON_MS, (name, choose)
        assert pay["result"] == "old code, paystack, r-1", name
        assert pay["ms"] < SOON_MS, (name, pay)
        assert report["ms"] < write["ms"] or name != "silent", (name, report)  # a report is not waited for
        assert write["result"]["outcome"] == "unknown", (name, write)
        assert write["ms"] < SOON_MS, (name, write)
        assert flush["ms"] < SOON_MS, (name, flush)
        assert one["problems"], name
        assert "pt_practice_x" not in json.dumps(one["problems"])


async def test_a_key_store_or_fetch_that_hangs_does_not_delay_a_payment(compiled: Path) -> None:
    script = (
        "const { Rollout } = await import(process.argv[1]);"
        "const never = () => new Promise(() => {});"
        "const began = performance.now();"
        "const made = (more) => new Rollout({url: 'http://127.0.0.1:9', practiceKey: () => 'k', choiceMs: 100,"
        " reportEveryMs: 60000, ...more});"
        "const found = await Promise.all([made({practiceKey: never}), made({fetch: never}),"
        " made({practiceKey: () => { throw new Error('no key'); }})].map((one) => one.choose(1, {currency: 'NGN'})));"
        "console.log(JSON.stringify([found, performance.now() - began]));"
    )
    node = compiler.find_node()
    assert node is not None
    process = await asyncio.create_subprocess_exec(
        *(node, "--input-type=module", "-e", script, (compiled / "rollout.js").as_uri()), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 20)
    found, took_ms = json.loads(out)  # the process has ended, although its timers have not
    assert found == [{"use": "legacy"}] * 3
    assert took_ms < 500


SERVER_OF_READS = """
const { Rollout } = await import(process.argv[1]);
const sent = [];
let status = 204;
const wellFormed = (one) => !/[\\p{Cc}\\p{Cs}]/u.test(one.caller) && [...one.caller].length <= 100 && one.caller !== "";
const fetch = async (url, { body }) => {
  const { reads } = JSON.parse(body);
  const valid = reads.length <= 200 && reads.every((one) => wellFormed(one) && one.count <= 1e9);
  const said = status === 204 && !valid ? 422 : status;
  sent.push([said, reads.length, reads.reduce((sum, one) => sum + one.count, 0)]);
  await new Promise((done) => setTimeout(done, 20));
  return new Response(null, { status: said });
};
const rollout = new Rollout({ url: "http://x", practiceKey: () => "k", reportReadsAs: 7, reportEveryMs: 0, fetch });
const flush = async (next) => { status = next; await rollout.flush(); };
"""


async def reads_sent(compiled: Path, script: str) -> list[list[int]]:
    """What a server that accepts only valid reports of reads gets: status, callers and reads of each report."""
    node = compiler.find_node()
    assert node is not None
    whole = f"{SERVER_OF_READS}{script}console.log(JSON.stringify(sent));"
    process = await asyncio.create_subprocess_exec(
        *(node, "--input-type=module", "-e", whole, (compiled / "rollout.js").as_uri()), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 20)
    return list(json.loads(out))


async def test_a_report_of_reads_that_failed_does_not_grow_beyond_what_is_accepted(compiled: Path) -> None:
    script = (
        "for (let i = 0; i < 300; i++) rollout.countRead(`a${i}`);"
        "const first = flush(503);"
        "for (let i = 0; i < 300; i++) rollout.countRead(`b${i}`);"
        "await first; await flush(204); await flush(204);"
    )
    assert await reads_sent(compiled, script) == [[503, 200, 300], [204, 200, 600], [204, 0, 0]]


async def test_no_name_of_a_caller_stops_the_reports(compiled: Path) -> None:
    odd = ["a\tb", "\x00", "", "\ud800", "x" * 99 + "\U0001f600" * 50, "a\ud83d", 7, None]
    script = f"for (const name of {json.dumps(odd)}) rollout.countRead(name); await flush(204);"
    [[status, _, reads]] = await reads_sent(compiled, script)
    assert (status, reads) == (204, len(odd))


async def test_what_the_server_rejects_is_reported_without_names(compiled: Path) -> None:
    script = "rollout.countRead('a'); rollout.countRead('b'); await flush(422); await flush(204); await flush(204);"
    assert await reads_sent(compiled, script) == [[422, 2, 2], [204, 1, 2], [204, 0, 0]]


# ── What people read ──


@pytest.mark.parametrize("document", ["examples/legacy-typescript/README.md", "docs/rollout.md"])
async def test_documents_show_the_code_that_is_tested(document: str) -> None:
    shown = (ROOT / document).read_text("utf-8")
    code = (EXAMPLE / "src" / "checkout.ts").read_text("utf-8")
    assert f"```ts\n{code}```" in shown, f"{document} does not show src/checkout.ts as it is"
