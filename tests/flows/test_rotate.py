"""A new key-encryption key: everything is wrapped by it, nothing stops opening, and the old key opens nothing any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from polytill.app import Polytill
from polytill.domain.clock import World
from polytill.domain.errors import KeyRingDiffers, SealBroken
from polytill.domain.ids import read_address
from polytill.domain.sealing import KeyRing, Place
from polytill.domain.secret import Secret
from polytill.domain.states import ClusterState, Environment
from polytill.flows import key_ring
from polytill.flows.admin import event_destination, key_rotation, provider_configs
from polytill.flows.admin.credentials import Keys
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.webhooks.receive import HOOK
from polytill.storage import cluster_rows, key_ring_keys
from polytill.storage.cluster_rows import ClusterRow
from polytill.storage.opening import open_owner
from polytill.storage.provider_configs import all_of, open_credentials
from polytill.storage.units import Unit
from tests import calls
from tests.installation import TEST_KEYS, fresh_settings, opened
from tests.storage.making import plain

SECRET = TEST_KEYS["paystack"]["secretKey"]


async def _made(till: Polytill) -> tuple[int, str]:
    """A practice with keys, a registered server and a destination; the practice and its hook token."""
    entry, _ = await calls.create_practice(till, "Clinic", "NGN")
    wish = Wish(
        "paystack",
        Environment.sandbox,
        Keys(TEST_KEYS["paystack"]["publicKey"], Secret(SECRET)),
        True,
        supported_currencies=["NGN"],
    )
    saved, _ = await provider_configs.configure(till.context, entry.id, wish, "test", False)
    await _add_cluster(till, "moon", "postgresql://u:pw@moon.example/x")
    for _ in range(2):  # the one that was replaced still signs
        await event_destination.set_destination(till.context, "https://platform.example/events", "test")
    return entry.id, saved.hook_token


async def _add_cluster(till: Polytill, name: str, url: str) -> None:
    """A registered server that nobody can reach: what the API would not save."""
    sealed = till.context.opening.seal_owners(Secret(url), Place("clusters", name, "sealed_url"))
    unit = Unit()
    row = ClusterRow(name, sealed, ClusterState.open, None, None, 0, till.context.world.now())
    cluster_rows.add(unit, row)
    await till.context.owner.commit(unit)


async def _opens(till: Polytill, practice_id: int) -> None:
    """Everything that is sealed opens."""
    practice = await till.context.practice(practice_id)
    active = (await all_of(practice.db))["paystack"].active
    secret = open_credentials(practice.db.data_key, "paystack", active).secret_key
    assert secret is not None
    assert secret.reveal() == SECRET
    [(name, sealed)] = (await cluster_rows.sealed_urls(till.context.owner)).items()
    assert "pw@moon" in till.context.opening.open_owners(sealed, Place("clusters", name, "sealed_url")).reveal()
    to = await event_destination.current(till.context)
    assert to is not None
    current, previous = event_destination.secrets_of(till.context, to)
    assert current.reveal().startswith("whsec_")
    assert previous.reveal().startswith("whsec_")


async def test_a_new_key_takes_over(tmp_path: Path, engine_url: str | None) -> None:
    settings = fresh_settings(tmp_path, engine_url)
    async with opened(settings, ["paystack"]) as old:
        practice_id, token = await _made(old)
        assert KeyRing.read(settings.keyring).extended(settings.keyring, World()) == "k2"
        async with Polytill.open(settings) as ready:  # the new key opens, and does not wrap yet
            assert ready.context.ring.ids == ["k1", "k2"]
            await _opens(ready, practice_id)
            assert await key_rotation.rotate(ready.context, "test") == (0, 1)
            KeyRing.read(settings.keyring).led_by("k2", settings.keyring)
            async with Polytill.open(settings) as new:
                await _opens(new, practice_id)
                assert await key_rotation.rotate(new.context, "test") == (1, 1)
                assert await key_rotation.rotate(new.context, "test") == (0, 1)
                await _opens(new, practice_id)
                await _an_address_stays(new, practice_id, token)
                [row] = await plain(
                    new.context.owner, "SELECT COUNT(*) FROM audit_log WHERE action = 'practice.key_rewrapped'"
                )
                assert row == (1,)
            await _opens(ready, practice_id)  # a node that has not been restarted since
    assert settings.keyring.stat().st_mode & 0o777 == 0o600
    lines = settings.keyring.read_text().splitlines()
    assert [line[:3] for line in lines] == ["k2:", "k1:"]


async def _an_address_stays(till: Polytill, practice_id: int, token: str) -> None:
    found = read_address(HOOK, token, till.context.ring.derived("addresses"))
    assert found is not None
    assert found[0] == practice_id


@pytest.mark.parametrize(("kept", "opens"), [("k1", False), ("k2", True)])
async def test_which_key_is_needed_afterwards(tmp_path: Path, kept: str, opens: bool) -> None:
    settings = fresh_settings(tmp_path)
    async with opened(settings, ["paystack"]) as old:
        practice_id, _ = await _made(old)
    KeyRing.read(settings.keyring).extended(settings.keyring, World())
    async with Polytill.open(settings) as till:
        await key_ring.put_to_use(till.context, "k2", "test")
        till.context.ring.led_by("k2", settings.keyring)
        till.context.ring.refresh()
        await key_rotation.rotate(till.context, "test")
    only = next(line for line in settings.keyring.read_text().splitlines() if line.startswith(kept))
    settings.keyring.write_text(only + "\n")
    with pytest.raises(KeyRingDiffers):  # addresses that are in the world were made with the older key
        async with Polytill.open(settings):
            pass
    owner = await open_owner(settings.owner_database_url.get_secret_value(), 2)
    [(_, wrapped)] = await key_ring_keys.anything_sealed(owner)
    await owner.engine.close()
    if opens:
        KeyRing.read(settings.keyring).unwrap(practice_id, wrapped)
    else:
        with pytest.raises(SealBroken):
            KeyRing.read(settings.keyring).unwrap(practice_id, wrapped)
