"""The settings of Stripe's Payment Element for the customer's browser: Stripe's script, loaded from Stripe, and its
origins.

Sources: docs.stripe.com/js (always loaded from js.stripe.com, never bundled), docs.stripe.com/security/guide (the
Content-Security-Policy), @stripe/stripe-js 10.2.1 (the address of the current release train).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from polytill.providers.contract import Handler
from polytill.providers.http import origin_of
from polytill.providers.outcomes import JsonObject

SCRIPT = "https://js.stripe.com/dahlia/stripe.js"
POLICY = {
    "script-src": ["https://js.stripe.com", "https://*.js.stripe.com"],
    "frame-src": ["https://js.stripe.com", "https://*.js.stripe.com", "https://hooks.stripe.com"],
    "connect-src": ["https://api.stripe.com"],
}


class PaymentElement(Handler):
    """The part of Stripe's handler that the checkout uses."""

    def get_public_config(self) -> JsonObject:
        """The publishable key, the script, and its origins: Stripe's, or those of a simulator that replaces Stripe."""
        base = self.config.base_url.rstrip("/").removesuffix("/v1")
        if urlsplit(base).hostname in self.hosts:
            return {"publicKey": self.config.public_key, "script": SCRIPT, "policy": POLICY}
        origin = [origin_of(base)]
        policy = {"script-src": origin, "connect-src": origin}
        return {"publicKey": self.config.public_key, "script": f"{base}/dahlia/stripe.js", "policy": policy}
