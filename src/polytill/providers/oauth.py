"""Access tokens: what a provider wants fetched with a client's id and secret before each real call.

Fetching one moves nothing, so whatever goes wrong here, the real call was not sent. A token lives as long as the
handler that fetched it, and no longer: none is shared between two practices, and none outlives a rotation.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from polytill.domain.secret import Secret
from polytill.providers.http import Answer, Http
from polytill.providers.outcomes import NotSent, Reason, Unknown
from polytill.providers.wire_json import string_in


def basic(user: str | None, secret: Secret | None) -> dict[str, str]:
    """The header that shows a client's id and secret."""
    pair = f"{user or ''}:{secret.reveal() if secret else ''}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}", "Accept": "application/json"}


async def fetch_token(
    http: Http, name: str, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
) -> Secret | NotSent:
    """A fresh token of the provider called ``name``. ``NotSent(config)`` where it refuses the client's id or secret."""
    answer = await http.send(method, url, headers, body)
    if isinstance(answer, NotSent):
        return answer
    if isinstance(answer, Unknown):
        return NotSent(Reason.provider_unavailable, answer.code, f"{name} gave no access token.")
    return read_token(name, answer)


def read_token(name: str, answer: Answer) -> Secret | NotSent:
    """The token in an answer, or why there is none."""
    token = string_in(answer.data, "access_token")
    if answer.status == 200 and token and token.isascii() and token.isprintable():
        return Secret(token)
    if 400 <= answer.status < 500:
        return NotSent(Reason.config, str(answer.status), f"{name} refuses the client's id or secret.")
    return NotSent(Reason.provider_unavailable, str(answer.status), f"{name} gave no access token.")
