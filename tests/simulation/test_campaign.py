"""A campaign stops, resumes and adds up; its score says what happened."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
from pathlib import Path

import pytest
from simulation.__main__ import main
from simulation.campaign import Campaign, carry_on, score
from simulation.plan import ALL_PROVIDERS_FROM
from simulation.telling import ALL_PROVIDERS, KINDS, Tally

from simulation import campaign as campaigns


def test_it_resumes_and_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns, "BATCH", 3)
    kept = tmp_path / "campaign.json"
    whole = Campaign(500, 9)
    assert carry_on(whole, 1, None, lambda line: None)

    def stops(line: str) -> None:
        raise KeyboardInterrupt

    parts = Campaign(500, 9)
    assert not carry_on(parts, 1, kept, stops)
    parts = Campaign.load(kept)
    assert 0 < parts.done < 9
    assert carry_on(parts, 1, kept, lambda line: None)
    assert (parts.done, parts.failed) == (whole.done, whole.failed)
    assert parts.tally.as_json() == whole.tally.as_json()


def test_stopped_or_done_its_processes_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their databases are in memory and fill hundreds of megabytes."""
    monkeypatch.setattr(campaigns, "BATCH", 2)
    seen: set[Path] = set()

    def look(line: str) -> None:
        pids = [process.pid for process in multiprocessing.active_children()]
        places = [Path("/dev/shm"), Path(tempfile.gettempdir())]
        seen.update(found for place in places for pid in pids for found in place.glob(f"polytill-world-{pid}-*"))

    def stops(line: str) -> None:
        look(line)
        raise KeyboardInterrupt

    kept = tmp_path / "campaign.json"
    assert not carry_on(Campaign(600, 40), 2, kept, stops)
    assert carry_on(Campaign(600, 4), 2, None, look)
    assert len(seen) >= 2
    assert [folder for folder in seen if folder.exists()] == []


def test_a_kind_that_never_happened_fails_a_long_campaign() -> None:
    tally = Tally(2000)
    tally.counts.update(KINDS)
    campaign = Campaign(0, 2000, done=2000, tally=tally)
    assert campaign.ok
    del tally.counts["call.act_late"]
    assert campaign.missing == ["call.act_late"]
    assert not campaign.ok
    assert any("call.act_late" in line for line in score(campaign) if line.startswith("FAILED"))
    campaign.done = 1999
    assert campaign.ok


def test_where_all_providers_are_drawn_each_of_them_must_have_been() -> None:
    tally = Tally(2000)
    tally.counts.update(KINDS)
    assert Campaign(ALL_PROVIDERS_FROM - 1, 2000, done=2000, tally=tally).ok
    assert Campaign(ALL_PROVIDERS_FROM, 2000, done=2000, tally=tally).missing == list(ALL_PROVIDERS)


def test_the_command_prints_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--histories", "3", "--seed", "40", "--json"])
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["histories"] == 3
    assert code == (0 if said["ok"] else 1)


def test_a_single_seed_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--histories", "1", "--seed", "41"])
    out = capsys.readouterr().out
    assert "practice 1:" in out
    assert "--seed 41:" in out
