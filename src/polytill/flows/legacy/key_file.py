"""The file of first keys that an import hands over. A key is on the disk before its practice becomes active.

Each line is a JSON object: ``externalId``, ``practiceId``, ``key``. If a run dies between the line and the practice's
activation, the next run makes the practice again, with another key, and adds another line: the last line of an
``externalId`` counts.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from pathlib import Path
from typing import Self

from polytill.domain.errors import OperatorError
from polytill.domain.secret import Secret


class KeyFile:
    """Appends keys to a file of mode 0600. It is created by the first key, and locked until it is closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def open(self) -> None:
        """Open and lock the file. ``OperatorError`` if others can read it, another import holds it, or it cannot be."""
        if self._file is not None:
            return
        flags = os.O_CREAT | os.O_APPEND | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            file = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise OperatorError(f"The key file {self.path} cannot be opened: {error.strerror}.") from None
        try:
            if os.fstat(file).st_mode & 0o077:
                raise OperatorError(f"Others can read the key file {self.path}. Set its mode to 0600.")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                detail = f"Another import writes the key file {self.path}. Wait for it, or give another --keys-file."
                raise OperatorError(detail) from None
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                os.write(file, b"\n")  # a run died within a line
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # the name of the file survives a power loss, too
            finally:
                os.close(folder)
        except OSError as error:
            os.close(file)
            raise self._not_written(error) from None
        except BaseException:
            os.close(file)
            raise
        self._file = file

    def _not_written(self, error: OSError) -> OperatorError:
        return OperatorError(f"The key file {self.path} cannot be written: {error.strerror}.")

    def add(self, external_id: str, practice_id: int, key: Secret) -> None:
        """Write a key to the disk. ``OperatorError`` if it is not certain to be there."""
        self.open()
        assert self._file is not None
        text = json.dumps({"externalId": external_id, "practiceId": practice_id, "key": key.reveal()}) + "\n"
        line, size = text.encode(), os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file)
        except OSError as error:
            self._take_back(size)
            raise self._not_written(error) from None
        self.count += 1

    def _take_back(self, size: int) -> None:
        """Remove what was written of a line, so that the next one is not in the middle of it."""
        assert self._file is not None
        try:
            os.ftruncate(self._file, size)
            os.fsync(self._file)
        except OSError:
            self._close()  # opening it again ends the line
