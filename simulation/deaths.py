"""How a crash is noticed: inside a node by ``NodeDied``, outside by ``Cut``."""

from __future__ import annotations

from polytill.providers.contained import ProcessStopped


class NodeDied(ProcessStopped):
    """The process has crashed. Not an ``Exception``: no handler of the product may catch it."""


class Cut(Exception):
    """The client of a node gets no answer: the node crashed or took too long."""
