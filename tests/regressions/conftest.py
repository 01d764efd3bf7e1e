"""The scene of the flows' tests, for regressions as well."""

from __future__ import annotations

from tests.flows.conftest import scene as scene
