"""The browser's part of the simulated Stripe: its script, and the request that the script makes. Nothing else is
loaded."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from polytill.simulator.network import Network

_SCRIPT = Path(__file__).parent / "stripe.js"
_ANYONE = {"Access-Control-Allow-Origin": "*"}  # a merchant's page requests it as it would request api.stripe.com


def add_routes(app: web.Application, network: Network) -> None:
    """Add the script and its request to the application."""

    async def script(request: web.Request) -> web.StreamResponse:
        return web.Response(text=_SCRIPT.read_text("utf-8"), content_type="text/javascript", charset="utf-8")

    async def confirm(request: web.Request) -> web.StreamResponse:
        form = await request.post()
        secret, outcome = str(form.get("client_secret", "")), str(form.get("outcome", ""))
        intent = secret.partition("_secret_")[0]
        page = network.page("stripe", intent, {"client_secret": secret}) if secret else None
        if page is None or outcome not in ("success", "decline"):
            return _answer(400, "There is no such PaymentIntent for this client secret.", "invalid_request_error")
        if page.state != "open":
            return _answer(400, "This PaymentIntent can no longer be paid.", "invalid_request_error")
        network.submit("stripe", intent, outcome, {})
        after = network.page("stripe", intent, {})
        if after is not None and after.state == "paid":
            return web.json_response({"paymentIntent": {"id": intent, "status": "succeeded"}}, headers=_ANYONE)
        return _answer(402, after.note if after else "", "card_error")

    app.router.add_get("/stripe/dahlia/stripe.js", script)
    app.router.add_post("/stripe/elements/confirm", confirm)


def _answer(status: int, message: str, kind: str) -> web.Response:
    return web.json_response({"error": {"type": kind, "message": message}}, status=status, headers=_ANYONE)
