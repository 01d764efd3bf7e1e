"""The usual implementation: FastAPI, SQLAlchemy's async ORM over asyncpg, a session per request, httpx, pydantic.

A fair comparison: one engine per practice and one HTTP client for the whole process, both kept warm; two short
transactions around the call; the key looked up by its hash; secrets sealed with AES-GCM; uvloop and httptools. It has
no catalog, no routing, no failover, no validation beyond pydantic's, no unknown outcomes, and one log line.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import uvloop
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from benchmarks.ground import Ground
from benchmarks.programs.living import serve_asgi
from polytill.domain.sealing import DataKey, KeyRing, Place
from polytill.domain.secret import Secret
from polytill.storage import schema

log = logging.getLogger("usual")


# ── Models: mapped onto the product's own tables, so that they stay the same ──


class OwnerBase(DeclarativeBase):
    """The owner database."""

    metadata = schema.owner


class PracticeBase(DeclarativeBase):
    """A practice's database."""

    metadata = schema.practice


class ApiKey(OwnerBase):
    """An API key."""

    __table__ = schema.owner.tables["api_keys"]


class Practice(OwnerBase):
    """A practice in the directory."""

    __table__ = schema.owner.tables["practices"]


class Configuration(PracticeBase):
    """A practice's configuration of a provider."""

    __table__ = schema.practice.tables["practice_payment_providers"]


class Payment(PracticeBase):
    """A payment."""

    __table__ = schema.practice.tables["payments"]
    # Declarative classes reserve the name ``metadata``.
    __mapper_args__ = {"properties": {"metadata_": __table__.c.metadata}}  # noqa: RUF012


class PaymentAttempt(PracticeBase):
    """One attempt at a provider."""

    __table__ = schema.practice.tables["payment_attempts"]


class SearchRow(PracticeBase):
    """The search row of a payment."""

    __table__ = schema.practice.tables["payment_search"]


class AuditLine(PracticeBase):
    """One line of the audit log."""

    __table__ = schema.practice.tables["audit_log"]


# ── Shapes ──


class Shape(BaseModel):
    """camelCase in JSON."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", from_attributes=True)


class CustomerShape(Shape):
    """The customer."""

    email: Annotated[str, Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")] | None = None
    name: str | None = None
    phone: str | None = None


class PaymentCreate(Shape):
    """The request to create a payment."""

    amount: int = Field(gt=0)
    currency: str = Field(min_length=3, max_length=3)
    payment_method: str | None = None
    customer: CustomerShape = Field(default_factory=CustomerShape)
    description: str | None = Field(None, max_length=500)
    reference: str | None = Field(None, max_length=200)
    metadata: dict[str, str] = Field(default_factory=dict)
    capture: Literal["automatic", "manual"] = "automatic"
    return_url: str | None = None


class NextActionRead(Shape):
    """The next action of the customer."""

    type: str
    url: str | None
    provider_token: str | None
    public_key: str | None


class AttemptRead(Shape):
    """One attempt at a provider."""

    id: str
    reference: str
    number: int
    provider_code: str
    status: str
    reason: str | None
    code: str | None
    detail: str | None
    provider_transaction_id: str | None
    created_at: datetime
    updated_at: datetime


class PaymentRead(Shape):
    """A payment as its practice sees it."""

    id: str
    status: str
    amount: int
    amount_authorized: int
    amount_captured: int
    amount_refunded: int
    amount_refund_pending: int
    amount_lost: int
    currency: str
    payment_method: str | None
    capture: str
    provider_code: str | None
    provider_transaction_id: str | None
    provider_fee: int | None
    provider_fee_currency: str | None
    failure_reason: str | None
    cancel_reason: str | None
    customer: CustomerShape
    description: str | None
    reference: str | None
    metadata: dict[str, str]
    return_url: str | None
    environment: str
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    client_token: str
    next_action: NextActionRead | None
    attempts: list[AttemptRead]


# ── The state of the process ──


class State:
    """Engines by database, the HTTP client, the keys."""

    def __init__(self, ground: Ground) -> None:
        self.address = str(ground.postgres_url).replace("postgresql://", "postgresql+asyncpg://")
        settings = ground.opened_settings()
        self.owner = self.engine(settings.owner_database_url.get_secret_value().rpartition("/")[2], 5)
        self.owner_sessions = async_sessionmaker(self.owner, expire_on_commit=False)
        self.ring = KeyRing.read(settings.keyring)
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{ground.provider_port}", timeout=30.0, limits=httpx.Limits(max_connections=100)
        )
        self._sessions: dict[str, async_sessionmaker[AsyncSession]] = {}
        self._engines: list[AsyncEngine] = [self.owner]

    def engine(self, database: str, size: int) -> AsyncEngine:
        """An engine with its own pool."""
        return create_async_engine(f"{self.address}/{database}", pool_size=size, max_overflow=1)

    def sessions(self, database: str) -> async_sessionmaker[AsyncSession]:
        """The sessions of a practice's database; its engine is created once."""
        if database not in self._sessions:
            engine = self.engine(database, 1)
            self._engines.append(engine)
            self._sessions[database] = async_sessionmaker(engine, expire_on_commit=False)
        return self._sessions[database]

    async def close(self) -> None:
        """Close everything."""
        await self.http.aclose()
        for engine in self._engines:
            await engine.dispose()


state: State


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Open and close the state of the process."""
    global state
    state = State(Ground.read(Path(sys.argv[1])))
    yield
    await state.close()


app = FastAPI(lifespan=lifespan)


class Caller(BaseModel):
    """The caller and its practice's data key."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    key_id: int
    practice_id: int
    database: str
    data_key: DataKey


async def caller(practice_id: int, authorization: Annotated[str, Header()]) -> Caller:
    """Find the API key and its practice."""
    hashed = hashlib.sha256(authorization.removeprefix("Bearer ").encode()).hexdigest()
    async with state.owner_sessions() as session:
        query = (
            select(ApiKey, Practice)
            .join(Practice, Practice.id == ApiKey.practice_id)
            .where(ApiKey.key_hash == hashed, ApiKey.revoked_at.is_(None))
        )
        row = (await session.execute(query)).first()
    if row is None:
        raise HTTPException(401, "Not authenticated")
    key, practice = row
    if practice.id != practice_id:
        raise HTTPException(404, "There is no such practice")
    if "payments" not in key.scopes or practice.state != "active":
        raise HTTPException(403, "Not allowed")
    return Caller(
        key_id=key.id,
        practice_id=practice.id,
        database=practice.database_name,
        data_key=state.ring.unwrap(practice.id, practice.wrapped_data_key),
    )


async def session_of(found: Annotated[Caller, Depends(caller)]) -> AsyncIterator[AsyncSession]:
    """A session per request."""
    async with state.sessions(found.database)() as session:
        yield session


# ── The route ──


@app.post("/api/practices/{practice_id}/payments", status_code=201, response_model=PaymentRead)
async def create_payment(
    body: PaymentCreate,
    found: Annotated[Caller, Depends(caller)],
    session: Annotated[AsyncSession, Depends(session_of)],
    idempotency_key: Annotated[str, Header(min_length=1, max_length=200)],
) -> Any:
    """Create a payment."""
    configuration = (
        await session.scalars(
            select(Configuration)
            .where(Configuration.is_enabled, Configuration.removed_at.is_(None))
            .order_by(Configuration.is_default.desc(), Configuration.priority.desc())
            .limit(1)
        )
    ).first()
    if configuration is None:
        raise HTTPException(422, "This practice has no payment provider")
    now = datetime.now(UTC)
    payment = _new_payment(body, found, configuration, idempotency_key, now)
    attempt = _new_attempt(payment, configuration, now)
    session.add(payment)
    await session.flush()
    session.add_all(
        [
            attempt,
            _search_row(payment),
            _audit(f"key:{found.key_id}", "payment.created", payment, {"route": "The default."}),
        ]
    )
    try:
        await session.commit()
    except IntegrityError:
        await session.rollback()
        raise HTTPException(409, "This Idempotency-Key was used already") from None
    answer = await _initialize(found, configuration, payment, attempt)
    _apply(found, payment, attempt, answer)
    session.add(_audit("answer", "payment.requires_action", payment, {"attempt": attempt.id, "to": "needs_action"}))
    await session.commit()
    log.info("settled practice=%s payment=%s status=%s", found.practice_id, payment.id, payment.status)
    return _read(found, configuration, payment, attempt, answer)


def _opened(found: Caller, configuration: Configuration, name: str) -> str:
    place = Place(
        "practice_payment_providers",
        configuration.provider_code,
        name,
        configuration.environment,
        configuration.credential_version,
    )
    return found.data_key.open(getattr(configuration, name), place).reveal()


async def _initialize(
    found: Caller, configuration: Configuration, payment: Payment, attempt: PaymentAttempt
) -> dict[str, Any]:
    response = await state.http.post(
        "/transaction/initialize",
        headers={"Authorization": f"Bearer {_opened(found, configuration, 'secret_key')}"},
        json={
            "email": payment.customer_email,
            "amount": payment.amount,
            "currency": payment.currency,
            "reference": attempt.id,
            "callback_url": f"https://pay.example/pay/{payment.id}/return",
            "metadata": {**(payment.metadata_ or {}), "payment_id": payment.id},
        },
    )
    response.raise_for_status()
    data: dict[str, Any] = response.json()["data"]
    return data


def _new_payment(
    body: PaymentCreate, found: Caller, configuration: Configuration, idempotency_key: str, now: datetime
) -> Payment:
    return Payment(
        id=secrets.token_hex(13), practice_id=found.practice_id, environment=configuration.environment,
        number=str(10**8 + secrets.randbelow(9 * 10**8)),
        status="processing", amount=body.amount, currency=body.currency, payment_method=body.payment_method,
        capture_mode=body.capture, provider_code=configuration.provider_code, customer_email=body.customer.email,
        customer_name=body.customer.name, customer_phone=body.customer.phone, description=body.description,
        reference=body.reference, metadata_=body.metadata, return_url=body.return_url, pinned_provider=False,
        idempotency_key=idempotency_key, fingerprint=hashlib.sha256(body.model_dump_json().encode()).hexdigest(),
        created_by=f"key:{found.key_id}", expires_at=now + timedelta(days=1), created_at=now, updated_at=now,
        amount_authorized=0, amount_captured=0, amount_refunded=0, refund_reserved=0, amount_lost=0, duplicate_refunded=0,
    )  # fmt: skip


def _new_attempt(payment: Payment, configuration: Configuration, now: datetime) -> PaymentAttempt:
    return PaymentAttempt(
        id=secrets.token_hex(13),
        payment_id=payment.id,
        practice_id=payment.practice_id,
        environment=payment.environment,
        number=1,
        provider_code=configuration.provider_code,
        config_id=configuration.id,
        credential_version=configuration.credential_version,
        state="sent",
        amount=payment.amount,
        currency=payment.currency,
        next_lookup_at=now + timedelta(seconds=40),
        lookups=0,
        created_at=now,
        updated_at=now,
    )


def _search_row(payment: Payment) -> SearchRow:
    texts = (
        payment.customer_name,
        payment.customer_email,
        payment.description,
        payment.currency,
        payment.number,
        payment.reference,
        payment.id[-12:],
        payment.customer_phone,
    )
    return SearchRow(
        environment=payment.environment,
        created_at=payment.created_at,
        payment_id=payment.id,
        block=0,
        major_units=f"{payment.amount / 100:g}",
        email=(payment.customer_email or "").lower(),
        reference=(payment.reference or "").lower(),
        body=" ".join(text for text in texts if text).lower(),
    )


def _audit(actor: str, action: str, payment: Payment, detail: dict[str, Any]) -> AuditLine:
    return AuditLine(at=datetime.now(UTC), actor=actor, action=action, subject=payment.id, detail=detail)


def _apply(found: Caller, payment: Payment, attempt: PaymentAttempt, answer: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    action = f"{answer['authorization_url']} {answer['access_code']}"
    place = Place("payment_attempts", attempt.id, "next_action")
    payment.status, payment.updated_at = "requires_action", now
    payment.provider_response = {"reference": answer["reference"]}
    attempt.state, attempt.updated_at = "needs_action", now
    attempt.next_action = found.data_key.seal(Secret(action), place, World)
    attempt.next_lookup_at = now + timedelta(seconds=60)


class World:
    """The source of nonces."""

    @staticmethod
    def random_bytes(count: int) -> bytes:
        """Fresh bytes."""
        return os.urandom(count)


def _read(
    found: Caller, configuration: Configuration, payment: Payment, attempt: PaymentAttempt, answer: dict[str, Any]
) -> PaymentRead:
    return PaymentRead(
        id=payment.id, status=payment.status, amount=payment.amount, amount_authorized=payment.amount_authorized,
        amount_captured=payment.amount_captured, amount_refunded=payment.amount_refunded,
        amount_refund_pending=payment.refund_reserved, amount_lost=payment.amount_lost, currency=payment.currency,
        payment_method=payment.payment_method, capture=payment.capture_mode, provider_code=payment.provider_code,
        provider_transaction_id=payment.provider_transaction_id, provider_fee=payment.provider_fee,
        provider_fee_currency=payment.provider_fee_currency, failure_reason=payment.failure_reason,
        cancel_reason=payment.cancel_reason, description=payment.description, reference=payment.reference,
        customer=CustomerShape(
            email=payment.customer_email, name=payment.customer_name, phone=payment.customer_phone
        ),
        metadata=payment.metadata_ or {}, return_url=payment.return_url, environment=payment.environment,
        expires_at=payment.expires_at, created_at=payment.created_at, updated_at=payment.updated_at,
        client_token=base64.urlsafe_b64encode(hashlib.sha256(payment.id.encode()).digest()).decode(),
        next_action=NextActionRead(
            type="redirect", url=answer["authorization_url"], provider_token=answer["access_code"],
            public_key=_opened(found, configuration, "public_key"),
        ),
        attempts=[
            AttemptRead(
                id=attempt.id, reference=attempt.id, number=attempt.number, provider_code=attempt.provider_code,
                status=attempt.state, reason=attempt.reason, code=attempt.raw_code, detail=attempt.detail,
                provider_transaction_id=attempt.provider_transaction_id, created_at=attempt.created_at,
                updated_at=attempt.updated_at,
            )
        ],
    )  # fmt: skip


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    uvloop.run(serve_asgi(app))
