"""The history of one payment: requests, provider answers, webhooks and refunds, with who did what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.sources import Source
from polytill.flows.payments import decisions
from polytill.storage.payments import Payment
from polytill.storage.webhook_events import WebhookEvent
from polytill.web.words import Words

TONES = {
    "succeeded": "good",
    "authorized": "info",
    "failed": "bad",
    "declined": "bad",
    "canceled": "bad",
    "lost": "bad",
    "unknown": "warn",
    "processing": "warn",
    "parked": "warn",
    "open": "warn",
    "won": "good",
    "adopted": "good",
}
# Actors of the audit log that are no person, key or link.
ACTORS = (*Source, "worker", "cli")


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of the history. ``tone`` is good, bad, warn, info or nothing."""

    at: datetime
    title: str
    detail: str
    who: str
    tone: str


def story_of(
    words: Words,
    payment: Payment,
    lines: list[dict[str, Any]],
    deliveries: list[WebhookEvent],
    names: dict[str, str],
    people: dict[str, str],
) -> list[Step]:
    """All entries, oldest first."""
    steps = [_line(words, payment, line, names, people) for line in reversed(lines)]
    steps += [_delivery(words, event, names) for event in deliveries]
    return sorted(steps, key=lambda step: step.at)


def who(words: Words, actor: str, people: dict[str, str]) -> str:
    """An actor of the audit log in words."""
    if actor in people:
        return people[actor]
    if actor in ACTORS:
        return words(f"source.{actor}")
    kind, _, number = actor.partition(":")
    if kind in ("owner", "link"):
        return words(f"source.{kind}")
    if kind == "user":
        return words("source.former", number=number)
    return words("source.key", number=number) if kind == "key" else actor


def _line(words: Words, payment: Payment, line: dict[str, Any], names: dict[str, str], people: dict[str, str]) -> Step:
    thing, _, state = line["action"].partition(".")
    detail = line["detail"] or {}
    tone = "info"
    if line["action"] == AuditAction.payment_created:
        title: str = words("story.created")
        more = _why(words, payment, detail, names)
    elif "to" in detail and "provider" in detail:  # a change of an attempt
        provider = names.get(detail["provider"], detail["provider"])
        title = words.of("story.attempt", detail["to"]).format(provider=provider)
        more = words.of("reason", detail["reason"]) if detail.get("reason") else ""
        tone = TONES.get(detail["to"], tone)
    else:
        title, amount = words.of(f"story.{thing}", state), detail.get("amount")
        more = words.money(amount, payment.currency) if isinstance(amount, int) else ""
        if line["action"] == AuditAction.payment_confirmed_manually:
            # Staff must describe what they saw: this shows it.
            more = _joined([more, _quoted(detail.get("note")), _proof(words, detail.get("proof"))])
        if thing != "payment":
            tone = TONES.get(state, tone)
    return Step(line["at"], title, more, who(words, line["actor"], people), tone)


def _why(words: Words, payment: Payment, detail: Mapping[str, Any], names: Mapping[str, str]) -> str:
    found = decisions.read(detail, payment.currency, names)
    first = next((one for one in found.explained if one.place == 1), None) if found else None
    return words.named(first.group, first.reason, "", first.about) if first else ""


def _joined(parts: list[str]) -> str:
    return " · ".join(part for part in parts if part)


def _quoted(note: Any) -> str:
    return f"“{note}”" if note else ""


def _proof(words: Words, proof: Any) -> str:
    return words("story.proof", proof=proof) if proof else ""


def _delivery(words: Words, event: WebhookEvent, names: dict[str, str]) -> Step:
    provider = names.get(event.provider_code, event.provider_code)
    why = words.of("reason", event.reason) if event.reason else ""
    told = words("story.delivery", provider=provider)
    state = words.of("delivery", event.state.value)
    return Step(
        event.received_at, told, f"{state} – {why}" if why else state, provider, TONES.get(event.state.value, "")
    )


# Details of an audit line that a reader understands without the code. Never an amount.
TELLING = (
    "name",
    "provider",
    "environment",
    "role",
    "status",
    "state",
    "currency",
    "currencies",
    "fields",
    "kind",
    "ok",
)


# Text groups that contain the name of such a detail's value.
GROUPS = {
    "environment": ("environment",),
    "role": ("role",),
    "status": ("catalog_status", "practice_state", "link_status"),
    "state": ("practice_state", "link_status", "attempt"),
    "kind": ("case", "key_kind"),
    "fields": ("field",),
}


def _worded(words: Words, name: str, value: Any, names: Mapping[str, str]) -> str:
    """One detail of an audit line in words, never as a raw code if it has a text."""
    if isinstance(value, list):
        return ", ".join(_worded(words, name, one, names) for one in value)
    if isinstance(value, bool):
        return words("activity.worked" if value else "activity.did_not_work")
    if name == "provider":
        return names.get(str(value), str(value))
    group = next((group for group in GROUPS.get(name, ()) if words.has(f"{group}.{value}")), None)
    return words.of(group, str(value)) if group else str(value).replace("_", " ")


def told(
    words: Words, lines: list[dict[str, Any]], people: dict[str, str], names: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Audit lines for people: actor, action, subject and details. ``names``: of providers."""
    found = []
    for line in lines:
        detail = line["detail"] or {}
        said = [
            _worded(words, name, detail[name], names or {})
            for name in TELLING
            if detail.get(name) not in (None, "", [])
        ]
        if line["action"] == AuditAction.case_resolved and detail.get("action"):
            said.append(words.of("resolution", str(detail["action"])))
        if detail.get("reason"):
            said.append(words.of("reason", str(detail["reason"])))
        said += [text for text in (_quoted(detail.get("note")), _proof(words, detail.get("proof"))) if text]
        action = words.of("action", line["action"].replace(".", "_"))
        about = (names or {}).get(line["subject"], line["subject"])
        found.append(
            {**line, "who": who(words, line["actor"], people), "what": action, "said": _joined(said), "about": about}
        )
    return found
