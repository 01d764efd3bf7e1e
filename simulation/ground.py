"""The starting point of every history of one process: an installation created once, and copies of its databases.

The owner database, the practices and their configurations are created with fixed randomness, so that they are the same
in every process. Each history gets fresh copies and may change them freely.
"""

from __future__ import annotations

import gc
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from polytill.domain.clock import World
from polytill.domain.sealing import KeyRing
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.admin import catalog, provider_configs
from polytill.flows.admin.credentials import Keys
from polytill.flows.admin.practices import NewPractice, create_practice
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.context import Context
from polytill.providers.http import Http
from polytill.providers.registry import Registry
from polytill.settings import Settings
from polytill.simulator.books import Refund
from polytill.storage import migrating, practices
from polytill.storage.databases import OwnerDb
from polytill.storage.opening import Opening, create_owner
from polytill.storage.sqlite import SqliteEngine, inline_hop
from simulation.keeping import Kept, KeptDatabase
from simulation.loop import VirtualLoop, WorldLoop, run

EPOCH_S = 1_790_000_000.0
SIMULATOR = "http://network.invalid"
PATHS = {
    "stripe": "/stripe",
    "paystack": "/paystack",
    "flutterwave": "/flutterwave/v3",
    "paypal": "/paypal",
    "flutterwave_v4": "/flutterwave_v4",
    "mpesa": "/mpesa",
}
# The first providers of the simulation, and those added later: ``plan.py`` decides in which histories.
FIRST = ("flutterwave", "paystack", "stripe")
JOINED = ("flutterwave_v4", "mpesa", "paypal")
PUSHED = ("flutterwave_v4", "mpesa")  # charges without a page, one try each
EVERYWHERE = ("KES", "NGN", "USD")
CURRENCIES = {"paypal": ("USD",), "flutterwave_v4": ("KES", "NGN"), "mpesa": ("KES",)}  # the others accept all three
PRACTICES = 3
EXPIRES_S = 1800


@dataclass(frozen=True, slots=True)
class Profile:
    """The set-up of one practice: its providers by falling priority, its environment, and whether it also has sandbox
    keys."""

    providers: tuple[str, ...]
    environment: Environment
    sandbox_beside: bool

    @property
    def name(self) -> str:
        """Its name in a history."""
        return (
            f"{'+'.join(self.providers)} {self.environment.value}{' (sandbox beside)' if self.sandbox_beside else ''}"
        )


def currencies_of(provider: str) -> tuple[str, ...]:
    """The currencies of a provider in the simulation."""
    return CURRENCIES.get(provider, EVERYWHERE)


def secret_key(practice: int, provider: str, environment: Environment, version: int = 1) -> str:
    """The secret key of one practice's account at a provider."""
    live = environment is Environment.production
    mark = f"p{practice}{provider.replace('_', '')}v{version}".ljust(32, "0")
    if provider == "flutterwave":
        return f"FLWSECK{'' if live else '_TEST'}-{mark}-X"
    if provider in JOINED:  # their keys do not show their environment
        return f"{'live' if live else 'test'}{mark}"
    return f"sk_{'live' if live else 'test'}_{mark}"


def webhook_secret(practice: int, provider: str, environment: Environment, version: int = 1) -> str:
    """The secret that the provider signs webhooks with. Paystack: the secret key itself."""
    if provider == "paystack":
        return secret_key(practice, provider, environment, version)
    if provider == "paypal":
        return f"WH{environment.value}{practice}V{version}".upper()
    return f"whsec_{environment.value}{practice}{provider}{version}"


def keys_of(practice: int, provider: str, environment: Environment, version: int = 1) -> Keys:
    """A complete set of credentials."""
    kind = "live" if environment is Environment.production else "test"
    public = f"pk_{kind}_p{practice}v{version}00000000"
    if provider in JOINED:
        public = f"client{kind}p{practice}v{version}0000"
    if provider == "flutterwave":
        public = f"FLWPUBK{'' if kind == 'live' else '_TEST'}-p{practice}v{version}-X"
    unsigned = provider in ("paystack", "mpesa")  # or signed with the key itself
    hook = None if unsigned else Secret(webhook_secret(practice, provider, environment, version))
    config = {"shortCode": "174379", "passkey": "passkey0123456789abcdef"} if provider == "mpesa" else None
    return Keys(public, Secret(secret_key(practice, provider, environment, version)), hook, config)


class NoNetwork:
    """The transport in place of the network to the providers."""

    async def send(self, *call: object) -> tuple[int, dict[str, str], bytes]:
        """No connection is possible."""
        raise AssertionError("nothing is called while the ground is laid")


def settings_for(folder: Path, owner_database_url: str, practice_databases: str) -> Settings:
    """The settings of every installation of the simulation."""
    return Settings(
        _env_file=None,
        owner_database_url=owner_database_url,
        practice_databases=practice_databases,
        keyring=folder / "made" / "keyring",
        public_url="http://127.0.0.1:8420",
        allowed_provider_origins=frozenset({SIMULATOR}),
        payment_expires_s=EXPIRES_S,
    )


async def fill_catalog(context: Context) -> None:
    """Add the simulator's providers to the catalog."""
    for code, path in PATHS.items():
        given = {
            "code": code,
            "name": code.capitalize(),
            "api_base_url": SIMULATOR + path,
            "sandbox_api_base_url": SIMULATOR + path,
        }
        await catalog.add(context, given, list(currencies_of(code)), "world")


async def set_up(context: Context, number: int, profile: Profile) -> dict[str, str]:
    """Create a practice's configurations. Returns the tokens of its hooks by provider."""
    tokens = {}
    for place, code in enumerate(profile.providers):
        wish = Wish(
            code,
            profile.environment,
            keys_of(number, code, profile.environment),
            is_enabled=True,
            supported_currencies=list(currencies_of(code)),
            priority=10 - place,
        )
        saved, _ = await provider_configs.configure(context, number, wish, "world")
        tokens[code] = saved.hook_token
        if profile.sandbox_beside:
            beside = keys_of(number, code, Environment.sandbox)
            await provider_configs.prepare_credentials(context, number, code, Environment.sandbox, beside, "world")
    return tokens


class Ground:
    """One process's installation. ``folder`` holds the files of histories; it is deleted at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[int, str] = {}
        self.tokens: dict[tuple[int, Profile], dict[str, str]] = {}
        self._kept: dict[tuple[int, Profile], bytes] = {}
        self._files: dict[tuple[Profile | str, int], Kept] = {}
        self._random = random.Random(7)
        self.settings = settings_for(folder, f"sqlite:///{folder}/made/owner.db", f"{folder}/made/practices")
        world = World(lambda: EPOCH_S - 86_400, self._random.randbytes)
        KeyRing.create(self.settings.keyring, world)
        self.ring = KeyRing.read(self.settings.keyring)
        self.loop: WorldLoop = VirtualLoop()
        self.owners: dict[int, bytes] = {}
        run(self.loop, self._make(world))
        self.pristine: dict[int, bytes] = {
            number: self._bytes(folder / "made" / "practices" / f"{name}.db") for number, name in self.names.items()
        }

    def _desk(self, world: World) -> Context:
        made = self.folder / "made"
        owner = OwnerDb(SqliteEngine(made / "owner.db", inline_hop))
        opening = Opening(owner, self.ring, str(made / "practices"), 2, world, inline_hop)
        return Context(self.settings, world, self.ring, owner, opening, Registry(), Http(NoNetwork()))

    async def _make(self, world: World) -> None:
        await create_owner(self.settings.owner_database_url.get_secret_value())
        context = self._desk(world)
        await migrating.migrate(context.owner, "owner")
        await fill_catalog(context)
        for number in range(1, PRACTICES + 1):
            entry, _ = await create_practice(context, NewPractice(f"Practice {number}", "NGN"), "world")
            assert entry.id == number
            found = await practices.by_id(context.owner, number)
            assert found is not None
            self.names[number] = found.database_name
            await context.owner.engine.close()
            self.owners[number] = self._bytes(self.folder / "made" / "owner.db")
        await context.opening.close()
        await context.owner.engine.close()

    def _bytes(self, path: Path) -> bytes:
        # Closing the last connection has written everything into the file itself.
        assert not path.with_name(path.name + "-wal").exists()
        return path.read_bytes()

    def practice(self, number: int, profile: Profile) -> bytes:
        """The database of a practice with this set-up."""
        kept = self._kept.get((number, profile))
        if kept is None:
            kept = self._kept[number, profile] = run(self.loop, self._configured(number, profile))
        return kept

    async def _configured(self, number: int, profile: Profile) -> bytes:
        # Its own randomness, so that the result does not depend on which history needs it first.
        chance = random.Random(f"{number} {profile.name}")
        context = self._desk(World(lambda: EPOCH_S - 3600, chance.randbytes))
        path = self.folder / "made" / "practices" / f"{self.names[number]}.db"
        path.write_bytes(self.pristine[number])
        self.tokens[number, profile] = await set_up(context, number, profile)
        await context.opening.close()
        await context.owner.engine.close()
        return self._bytes(path)

    def lay(self, profiles: dict[int, Profile]) -> Mapping[str, KeptDatabase]:
        """The databases of one history in their initial state: ``owner``, and those of its practices by name."""
        kept: dict[str, KeptDatabase] = {"owner": self._rewound("owner", len(profiles), self.owners[len(profiles)])}
        for number, profile in profiles.items():
            kept[self.names[number]] = self._rewound(profile, number, self.practice(number, profile))
        return kept

    def close(self) -> None:
        """Close every file."""
        for kept in self._files.values():
            kept.close()
        self.loop.close()

    def _rewound(self, what: Profile | str, number: int, content: bytes) -> Kept:
        kept = self._files.get((what, number))
        if kept is None:
            path = self.folder / f"{len(self._files)}.db"
            path.write_bytes(content)
            kept = self._files[what, number] = Kept(path)
        kept.rewind()
        return kept


@contextmanager
def ground(lay: Callable[[Path], Ground] = Ground) -> Iterator[Ground]:
    """Create the installation in memory if there is such a folder, else in the temporary folder."""
    memory = Path("/dev/shm")  # noqa: S108 — files that live as long as the campaign
    parent = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix=f"polytill-world-{os.getpid()}-", dir=parent) as folder:
        laid = lay(Path(folder))
        gc.freeze()  # objects loaded until now stay, so the garbage collector need not scan them again
        try:
            yield laid
        finally:
            laid.close()
            gc.unfreeze()


def marks_of(made: Refund) -> list[str]:
    """The identifiers of a refund in webhooks: its id, and Paystack's other name for it."""
    return [made.id, *([made.wire["reference"]] if "reference" in made.wire else [])]
