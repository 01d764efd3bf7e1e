"""API keys, and the key ring of key-encryption keys."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from polytill.cli.opened import check_owner_or, console, fail, opened
from polytill.domain.clock import World
from polytill.domain.errors import NotNow
from polytill.domain.sealing import KeyRing
from polytill.domain.states import ApiKeyKind
from polytill.flows import key_ring
from polytill.flows.admin import key_rotation
from polytill.flows.admin.practices import create_key
from polytill.flows.context import Context
from polytill.owner_setup import why_no_ring
from polytill.settings import Settings

keys_app = typer.Typer(no_args_is_help=True, help="API keys, and the key ring of key-encryption keys.")


@keys_app.command("create")
def keys_create(
    owner: Annotated[bool, typer.Option("--owner", help="A key of the platform's owner")] = False,
    practice: Annotated[int | None, typer.Option(help="A key of this practice")] = None,
    publishable: Annotated[bool, typer.Option("--publishable", help="Read-only, safe in a browser")] = False,
    name: Annotated[str, typer.Option(help="What the key is for")] = "cli",
) -> None:
    """Create an API key. It is printed only once; only its hash is stored."""
    check_owner_or(practice, owner)
    kind = ApiKeyKind.owner if owner else ApiKeyKind.publishable if publishable else ApiKeyKind.practice
    key = opened(lambda context: create_key(context, kind, practice, name, None, "cli"))
    console.print(key, soft_wrap=True)


def rotate_ring() -> None:
    """Activate the newest key of the key ring and wrap every practice's data key with it. May be repeated.

    Fails while a running process does not have that key yet.
    """
    path = Settings().keyring
    ring = KeyRing.read(path)
    newest = max(ring.ids, key=lambda key_id: int(key_id[1:]) if key_id[1:].isdecimal() else 0)

    async def work(context: Context) -> tuple[int, int]:
        await key_ring.put_to_use(context, newest, "cli")
        if context.ring.ids[0] != newest:
            context.ring.led_by(newest, path)
            context.ring.refresh()
        return await key_rotation.rotate(context, "cli")

    done, count = opened(work)
    console.print(f"{newest} is active. Rewrapped data keys: {done} of {count} practices. Copy {path} to every node.")
    console.print("Keep the older keys in it: addresses that providers and customers have depend on them.")


@keys_app.command("ring")
def keys_ring(
    add: Annotated[bool, typer.Option("--add", help="Add a key, which `polytill rotate` activates")] = False,
) -> None:
    """Create the key ring (POLYTILL_KEYRING, mode 0600), or add a key to it."""
    path = Settings().keyring
    if add:
        fresh = KeyRing.read(path).extended(path, World())
        console.print(f"Added {fresh} to {path}. Copy this file to every node, then run `polytill rotate`.")
        return
    if path.exists():
        fail(f"The key ring {path} already exists and was not changed.")
    try:
        why = asyncio.run(why_no_ring(Settings()))
    except NotNow as error:
        fail(f"No key ring was created, because the owner database may have one already: {error.detail}")
    if why is not None:
        fail(why)
    KeyRing.create(path, World())
    console.print(f"Created {path}. Keep a copy in a safe place: no secret can be opened without it.")
