"""The provider simulator: a program of its own that pretends to be Stripe, Paystack, Flutterwave, M-Pesa and PayPal.

It speaks their wire protocols over HTTP, keeps what they would keep, delivers signed webhooks to loopback
addresses and breaks on request. It shares no code with the product's handlers; from the product it imports
the ISO currency table and nothing else.
"""

from __future__ import annotations

from polytill.simulator.app import RunningSimulator, make_app, serve, start

__all__ = ["RunningSimulator", "make_app", "serve", "start"]
