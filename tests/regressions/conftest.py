"""The scene of the flows' tests and the shared service of the web's tests, for regressions as well."""

from __future__ import annotations

from tests.flows.conftest import scene as scene
from tests.web.conftest import shared as shared
