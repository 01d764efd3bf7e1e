"""The host application's encryption of its keys: a function on an allow-list, or a command.

A plain text, and what is encrypted, appears in no error and no log: the errors here say only what kind of fault it was.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from importlib import import_module

from polytill.domain.errors import OperatorError
from polytill.domain.secret import Secret
from polytill.flows.legacy.mapping_file import Hook, Setup
from polytill.flows.legacy.model import Cipher

_LONGEST = 1_000_000  # characters of a key or a field


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
        done = subprocess.run(  # noqa: S603  the operator wrote the command into the mapping; no shell reads it
            hook.command, input=text.encode("utf-8"), capture_output=True, timeout=hook.timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise _HookFault(f"the command did not end within {hook.timeout_s} seconds") from None
    except OSError as error:
        raise _HookFault(f"the command cannot be run ({error.strerror})") from None
    except UnicodeEncodeError:
        raise _HookFault("the value is not text") from None
    if done.returncode != 0:
        raise _HookFault(f"the command ended with exit code {done.returncode}")
    try:
        return done.stdout.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise _HookFault("the command wrote no UTF-8 text") from None
