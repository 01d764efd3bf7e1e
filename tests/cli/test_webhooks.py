"""The commands about webhooks from providers."""

from __future__ import annotations

import re
from pathlib import Path

from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.admin import provider_configs
from polytill.flows.admin.credentials import Keys
from polytill.flows.admin.provider_configs import Wish
from tests import calls
from tests.cli.process import one_sentence, polytill
from tests.installation import TEST_KEYS, fresh_settings, opened


async def test_the_relay_is_set_and_shown_and_bad_input_is_one_sentence(tmp_path: Path) -> None:
    settings = fresh_settings(tmp_path)
    async with opened(settings) as till:
        made = await calls.create_practice(till, "Clinic", "NGN")
        keys = Keys(TEST_KEYS["paystack"]["publicKey"], Secret(TEST_KEYS["paystack"]["secretKey"]))
        await provider_configs.configure(till.context, made[0].id, Wish("paystack", Environment.sandbox, keys), "test")
    place = {
        "POLYTILL_OWNER_DATABASE_URL": settings.owner_database_url.get_secret_value(),
        "POLYTILL_PRACTICE_DATABASES": settings.practice_databases.get_secret_value(),
        "POLYTILL_KEYRING": str(settings.keyring),
    }
    relay = ("webhooks", "relay", "1", "paystack", "--environment", "sandbox")
    shown = polytill(tmp_path, *relay, "--url", "https://old.example/hooks", **place)
    assert (shown.returncode, "https://old.example/hooks" in shown.stdout) == (0, True), shown.stderr
    one_sentence(polytill(tmp_path, *relay, "--url", "http://old.example/hooks", **place))
    assert "off" in polytill(tmp_path, *relay, "--off", **place).stdout
    one_sentence(polytill(tmp_path, "webhooks", "dismiss", "1", "--note", "old", **place))
    dismiss = ("webhooks", "dismiss", "1", "--note", "old")
    for wrong in ("color=red", "before=yesterday"):
        one_sentence(polytill(tmp_path, *dismiss, "--only", wrong, **place))
    counted = polytill(tmp_path, *dismiss, "--only", "reason=unknown_reference", "--dry-run", **place).stdout
    assert re.findall(r"\d+", counted) == ["0"]
    assert polytill(tmp_path, "webhooks", "list", "1", "--status", "relaying", **place).returncode == 0
