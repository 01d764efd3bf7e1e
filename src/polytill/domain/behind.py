"""Why a practice's database is behind: older than what the owner database knows of it, or a copy."""

from __future__ import annotations

from enum import StrEnum


class BehindReason(StrEnum):
    """How it was noticed that a practice's database is not the one that polytill last wrote."""

    epoch = "epoch"  # it has another epoch: restored from before it was adopted, or of another installation
    birthplace = "birthplace"  # it was created elsewhere: restored from a dump, or copied from another database
    mark = "mark"  # it lacks the last event that was forwarded from it
