"""How a death is noticed: inside by ``NodeDied``, outside by ``Cut``."""

from __future__ import annotations

from polytill.providers.contained import ProcessStopped


class NodeDied(ProcessStopped):
    """The process is gone. Not an ``Exception``: nothing in the product may survive it."""


class Cut(Exception):
    """Whoever asked a node gets no answer: it died, or took too long."""
