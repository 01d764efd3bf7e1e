"""Why an installation is a copy of another one: the same databases, which two installations must not both use."""

from __future__ import annotations

from enum import StrEnum


class CopyReason(StrEnum):
    """How a process notices that its owner database is a copy."""

    name = "name"  # the setting and the owner database have different names
    place = "place"  # the owner database is in another place than where it was created or adopted
