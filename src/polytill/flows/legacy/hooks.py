"""The host application's encryption of its keys: a function on an allow-list, or a command.

A plain text, and what is encrypted, appears in no error and no log: the errors here say only what kind of fault it was.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from importlib import import_module

from polytill.domain.errors import OperatorError
from polytill.domain.secret import Secret
from polytill.flows.legacy.mapping_file import Hook, Setup
from polytill.flows.legacy.model import Cipher

_LONGEST = 1_000_000  # characters of a key or a field
_MOST_BYTES = 4 * _LONGEST  # of UTF-8


class HookCipher:
    """Calls the hooks of a mapping. They block, so call them in a thread."""

    def __init__(self, decrypt: Callable[[str], str], encrypt: Callable[[str], str] | None) -> None:
        self._decrypt = decrypt
        self._encrypt = encrypt

    def decrypt(self, text: str) -> Secret:
        """The plain text. ``ValueError`` says what kind of fault it was."""
        return Secret(_called(self._decrypt, text))

    def encrypt(self, plain: Secret) -> str:
        """The inverse. ``ValueError`` without an encrypt hook, or if it fails."""
        if self._encrypt is None:
            raise ValueError("the mapping has no encrypt hook")
        return _called(self._encrypt, plain.reveal())


def cipher_of(setup: Setup, allowed: frozenset[str]) -> Cipher | None:
    """The cipher of a mapping; None if the host encrypts nothing. ``allowed``: the setting POLYTILL_DECRYPT_HOOKS.

    ``OperatorError`` if a function is not on the allow-list or cannot be imported.
    """
    if setup.decrypt is None:
        return None
    return HookCipher(_function(setup.decrypt, allowed), _function(setup.encrypt, allowed) if setup.encrypt else None)


def _called(function: Callable[[str], str], text: str) -> str:
    try:
        found = function(text)
    except ValueError as error:
        # Ours have a text that quotes nothing; another one may quote its argument.
        raise ValueError(str(error) if isinstance(error, _HookFault) else "the hook failed") from None
    except Exception as error:
        raise ValueError(f"the hook failed with {type(error).__name__}") from None
    if not isinstance(found, str) or not found.strip() or len(found) > _LONGEST:
        raise ValueError("the hook returned no text")
    return found


class _HookFault(ValueError):
    """A fault whose text quotes nothing."""


def _function(hook: Hook, allowed: frozenset[str]) -> Callable[[str], str]:
    if hook.function is None:
        return lambda text: _run(hook, text)
    if hook.function not in allowed:
        raise OperatorError(f"The hook {hook.function} is not on the allow-list. Add it to POLYTILL_DECRYPT_HOOKS.")
    module, _, name = hook.function.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:
        detail = f"The hook {hook.function} cannot be imported ({type(error).__name__})."
        raise OperatorError(detail) from None
    if not callable(found):
        raise OperatorError(f"The hook {hook.function} is no function.")
    function: Callable[[str], str] = found
    return function


def _run(hook: Hook, text: str) -> str:
    try:
        process = _Command(hook, text.encode("utf-8"))
    except OSError as error:
        raise _HookFault(f"the command cannot be run ({error.strerror})") from None
    except UnicodeEncodeError:
        raise _HookFault("the value is not text") from None
    written = process.answer(hook.timeout_s)
    if written is None:
        raise _HookFault(f"the command did not end within {hook.timeout_s} seconds")
    if len(written) > _MOST_BYTES:
        raise _HookFault("the command wrote too much")
    if process.exit_code != 0:
        raise _HookFault(f"the command ended with exit code {process.exit_code}")
    try:
        return written.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise _HookFault("the command wrote no UTF-8 text") from None


class _Command:
    """A command that runs. Two threads speak with it, so that it may write before it has read everything, and neither
    can keep this one."""

    def __init__(self, hook: Hook, text: bytes) -> None:
        # The operator wrote the command into the mapping, and no shell reads it. It has a session of its own, so that it
        # can be ended together with what it starts. What it says about itself may quote the value, and nobody reads it.
        self._process = subprocess.Popen(  # noqa: S603
            hook.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._written: bytes | None = None
        threading.Thread(target=self._tell, args=(text,), daemon=True).start()
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    @property
    def exit_code(self) -> int | None:
        """How the command ended."""
        return self._process.returncode

    def _tell(self, text: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError), self._process.stdin as pipe:  # it need not read its input
            pipe.write(text)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            written = pipe.read(_MOST_BYTES + 1)
        if len(written) <= _MOST_BYTES:
            self._process.wait()
        self._written = written

    def answer(self, timeout_s: float) -> bytes | None:
        """What the command has written, at most one byte more than is allowed. None if it did not end in time."""
        self._listening.join(timeout_s)
        written = self._written
        if written is None or len(written) > _MOST_BYTES:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        return written
