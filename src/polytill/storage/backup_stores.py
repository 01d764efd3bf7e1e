"""Where backups are kept: a directory, or an S3-compatible store (``s3://bucket/prefix``)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from polytill.domain.errors import NotFound, OperatorError
from polytill.storage import files


class BackupStore(Protocol):
    """Keeps files by their names. Its methods block: call them in a thread."""

    def put(self, name: str, file: Path) -> None:
        """Keep a file. Another one of this name is replaced, at once or not at all."""

    def get(self, name: str, to: Path) -> None:
        """Write a kept file to ``to``. ``NotFound`` if there is none of this name."""

    def names(self, prefix: str) -> list[str]:
        """The names that begin with ``prefix``, in order."""

    def delete(self, name: str) -> None:
        """Delete a kept file. One that is not there is deleted already."""


def backup_store(place: str) -> BackupStore:
    """The store at a place. ``OperatorError`` if it cannot be one."""
    if "://" not in place:
        return DirectoryStore(Path(place))
    parts = urlsplit(place)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.username:
        raise OperatorError("A place for backups is a directory or s3://bucket/prefix.")
    return S3Store(parts.netloc, parts.path.strip("/"))


def _no_such(name: str) -> NotFound:
    return NotFound(f"There is no backup named {name!r} there.")


class DirectoryStore:
    """A directory that only this user can read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, file: Path) -> None:
        """Keep a file."""
        partial = self._folder / f".{name}.partial"
        with _told(self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with file.open("rb") as source, files.working_file(partial, ".*.partial") as target:
                shutil.copyfileobj(source, target)
                target.flush()
                os.fsync(target.fileno())
                partial.replace(self._folder / name)

    def get(self, name: str, to: Path) -> None:
        """Write a kept file to ``to``."""
        if "/" in name or not (self._folder / name).is_file():
            raise _no_such(name)
        with _told(self._folder):
            shutil.copyfile(self._folder / name, to)

    def names(self, prefix: str) -> list[str]:
        """The names that begin with ``prefix``."""
        with _told(self._folder):
            return sorted(one.name for one in self._folder.glob("[!.]*") if one.name.startswith(prefix))

    def delete(self, name: str) -> None:
        """Delete a kept file."""
        if "/" in name:
            raise _no_such(name)
        with _told(self._folder):
            (self._folder / name).unlink(missing_ok=True)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OperatorError(f"The backups in {folder} cannot be read or written: {error.strerror}.") from error


class S3Store:
    """A bucket of an S3-compatible store. Address, region and keys come from the usual ``AWS_*`` variables."""

    def __init__(self, bucket: str, prefix: str) -> None:
        try:
            import boto3
        except ImportError:
            raise OperatorError("Backups in S3 need the package boto3: pip install 'polytill[s3]'.") from None
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        with self._told():
            self._client = boto3.client("s3")

    def put(self, name: str, file: Path) -> None:
        """Keep a file."""
        with self._told():
            self._client.upload_file(str(file), self._bucket, self._prefix + name)

    def get(self, name: str, to: Path) -> None:
        """Write a kept file to ``to``."""
        if name not in self.names(name):
            raise _no_such(name)
        with self._told():
            self._client.download_file(self._bucket, self._prefix + name, str(to))

    def names(self, prefix: str) -> list[str]:
        """The names that begin with ``prefix``."""
        with self._told():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            return sorted(str(one["Key"])[len(self._prefix) :] for page in pages for one in page.get("Contents", ()))

    def delete(self, name: str) -> None:
        """Delete a kept file."""
        with self._told():
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Translate the client's errors, which name no secret: the operation and a code."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown")
            raise OperatorError(f"The bucket {self._bucket} refused {error.operation_name}: {code}.") from error
        except (Boto3Error, BotoCoreError, ValueError, OSError) as error:
            raise OperatorError(f"The bucket {self._bucket} cannot be used: {_kind(error)}.") from error


def _kind(error: Exception) -> Any:
    cause = error.__cause__ or error.__context__ or error
    response = getattr(cause, "response", None) or {}
    return response.get("Error", {}).get("Code") or type(error).__name__
