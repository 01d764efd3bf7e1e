"""One key ring for all nodes: another or an incomplete one is rejected, and a new key arrives without a restart.

Sources: the review of operations, D1 (rotation before the nodes had the key stopped all practices) and D3 (`migrate` made a
second key ring beside an existing owner database).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from polytill.app import Polytill
from polytill.domain.clock import World
from polytill.domain.errors import KeyMissing, KeyRingDiffers, OperatorError
from polytill.domain.sealing import KeyRing
from polytill.flows import key_ring, presence
from polytill.flows.admin import key_rotation
from polytill.owner_setup import migrate_owner
from polytill.settings import Settings
from polytill.storage import nodes, practices
from tests import calls
from tests.cli.process import one_sentence, polytill
from tests.installation import fresh_settings, opened


def elsewhere(settings: Settings, folder: Path, ring: Path | None = None) -> Settings:
    """Settings of another node of the same installation, with a key ring file of its own."""
    folder.mkdir()
    if ring is not None:
        shutil.copy(ring, folder / "keyring")
    return settings.model_copy(update={"keyring": folder / "keyring"})


async def refusal(settings: Settings) -> str:
    with pytest.raises(KeyRingDiffers) as found:
        async with Polytill.open(settings):
            pass
    return found.value.detail


async def test_another_ring_is_rejected_everywhere(tmp_path: Path, engine_url: str | None) -> None:
    settings = fresh_settings(tmp_path, engine_url)
    async with opened(settings, ["paystack"]):
        other = elsewhere(settings, tmp_path / "other")
        KeyRing.create(other.keyring, World())
        assert "differs from the one recorded" in await refusal(other)
        with pytest.raises(KeyRingDiffers):
            await migrate_owner(other)


async def test_a_missing_ring_is_not_made_beside_an_owner_database(tmp_path: Path, engine_url: str | None) -> None:
    settings = fresh_settings(tmp_path, engine_url)
    async with opened(settings, ["paystack"]):
        other = elsewhere(settings, tmp_path / "other")
        with pytest.raises(OperatorError) as found:
            await migrate_owner(other)
        assert "opy the file" in found.value.detail
        assert not other.keyring.exists()


async def test_two_first_migrations_at_once_end_with_one_ring(tmp_path: Path, engine_url: str | None) -> None:
    first = fresh_settings(tmp_path, engine_url)
    async with opened(first, ["paystack"]) as till:
        # As if the second node had looked before the first had recorded its ring.
        other = elsewhere(first, tmp_path / "other")
        KeyRing.create(other.keyring, World())
        ring = KeyRing.read(other.keyring)
        with pytest.raises(KeyRingDiffers):
            await key_ring.record_first(till.context.owner, till.context.opening, ring, till.context.world.now())


async def test_an_incomplete_ring_is_rejected_after_a_rotation(tmp_path: Path, engine_url: str | None) -> None:
    settings = fresh_settings(tmp_path, engine_url)
    async with opened(settings, ["paystack"]):
        old = elsewhere(settings, tmp_path / "old", settings.keyring)
        KeyRing.read(settings.keyring).extended(settings.keyring, World())
        async with Polytill.open(settings) as till:
            await key_ring.put_to_use(till.context, "k2", "test")
        assert "lacks the key 'k2'" in await refusal(old)
        shutil.copy(settings.keyring, old.keyring)
        async with Polytill.open(old):
            pass


async def test_a_rotation_waits_for_every_live_node(tmp_path: Path, engine_url: str | None) -> None:
    settings = fresh_settings(tmp_path, engine_url)
    async with opened(settings, ["paystack"]) as node:
        entry, _ = await calls.create_practice(node, "Clinic", "NGN")
        other = elsewhere(settings, tmp_path / "other", settings.keyring)
        async with Polytill.open(other) as behind:
            here = presence.Presence(behind.context, "serve", False)
            await here.beat()
            KeyRing.read(settings.keyring).extended(settings.keyring, World())
            async with Polytill.open(settings) as till:
                with pytest.raises(KeyRingDiffers) as found:
                    await key_ring.put_to_use(till.context, "k2", "test")
                assert here.name in found.value.detail
                shutil.copy(settings.keyring, other.keyring)
                await here.beat()  # reads the file, since it has changed
                assert behind.context.ring.ids == ["k1", "k2"]
                await key_ring.put_to_use(till.context, "k2", "test")
                till.context.ring.led_by("k2", settings.keyring)
                till.context.ring.refresh()
                assert await key_rotation.rotate(till.context, "test") == (1, 1)
            behind.context.opening.forget(entry.id)
            await behind.context.opening.practice(entry.id)
            await here.leave()
            assert await nodes.live(till.context.owner, till.context.shared_after(0)) == []


async def test_a_node_reads_the_ring_again_when_it_meets_an_unknown_key(tmp_path: Path, engine_url: str | None) -> None:
    settings = fresh_settings(tmp_path, engine_url)
    async with opened(settings, ["paystack"]) as node:
        entry, _ = await calls.create_practice(node, "Clinic", "NGN")
        KeyRing.read(settings.keyring).extended(settings.keyring, World())
        aside = tmp_path / "aside"
        async with Polytill.open(settings) as till:
            await key_ring.put_to_use(till.context, "k2", "test")
            till.context.ring.led_by("k2", settings.keyring)
            till.context.ring.refresh()
            await key_rotation.rotate(till.context, "test")
        settings.keyring.rename(aside)  # the file has not arrived here yet
        node.context.opening.forget(entry.id)
        with pytest.raises(KeyMissing) as found:
            await node.context.opening.practice(entry.id)
        assert (found.value.status, found.value.public is not None) == (503, True)
        aside.rename(settings.keyring)
        await node.context.opening.practice(entry.id)
        assert node.context.ring.ids == ["k2", "k1"]


async def test_nothing_is_sealed_with_a_ring_that_differs(tmp_path: Path, engine_url: str | None) -> None:
    settings = fresh_settings(tmp_path, engine_url)
    async with opened(settings, ["paystack"]) as till:
        ring = KeyRing.read(settings.keyring)
        ring.extended(settings.keyring, World())
        KeyRing.read(settings.keyring).led_by("k2", settings.keyring)
        till.context.ring.refresh()
        with pytest.raises(KeyRingDiffers):  # k2 leads here, and no other node may have it
            await calls.create_practice(till, "Clinic", "NGN")
        assert await practices.listed(till.context.owner) == []


def test_a_check_value_tells_nothing_and_tells_keys_apart(tmp_path: Path) -> None:
    KeyRing.create(tmp_path / "a", World())
    KeyRing.create(tmp_path / "b", World())
    one, two = KeyRing.read(tmp_path / "a"), KeyRing.read(tmp_path / "b")
    assert one.checks() == KeyRing.read(tmp_path / "a").checks()
    assert one.checks()["k1"] != two.checks()["k1"]
    assert one.differs_from(two.checks()) is not None
    assert one.checks()["k1"] not in (tmp_path / "a").read_text()


def test_the_file_changes_to_another_key_under_the_same_id(tmp_path: Path) -> None:
    KeyRing.create(tmp_path / "a", World())
    ring = KeyRing.read(tmp_path / "a")
    before = ring.checks()
    (tmp_path / "a").unlink()
    KeyRing.create(tmp_path / "a", World())
    assert not ring.refresh()
    assert ring.problem is not None
    assert ring.checks() == before


def test_on_the_command_line(tmp_path: Path) -> None:
    owner = {"POLYTILL_OWNER_DATABASE_URL": f"sqlite:///{tmp_path}/owner.db"}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert polytill(tmp_path / "a", "migrate", **owner).returncode == 0
    for arguments in (("migrate",), ("keys", "ring")):
        assert "opy the file" in one_sentence(polytill(tmp_path / "b", *arguments, **owner))
        assert not (tmp_path / "b" / "var" / "keyring").exists()
