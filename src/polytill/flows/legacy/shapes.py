"""One practice's ``paymentProviders`` field, in any shape that older code writes: ``read`` it, and ``write`` changes.

Both are pure. ``write`` keeps the shape, everything that is not understood, and the text of what is not changed.
"""

from __future__ import annotations

import json
from typing import Any

from polytill.domain.legacy_findings import LegacyFinding
from polytill.domain.secret import Secret
from polytill.flows.legacy.mapping import Mapping
from polytill.flows.legacy.model import KEY_NAMES as KEY_NAMES
from polytill.flows.legacy.model import Cipher as Cipher
from polytill.flows.legacy.model import Found as Found
from polytill.flows.legacy.model import LegacyField as LegacyField
from polytill.flows.legacy.model import LegacySet as LegacySet
from polytill.flows.legacy.model import Unwritable as Unwritable
from polytill.flows.legacy.reading import locate
from polytill.flows.legacy.resolving import resolve
from polytill.flows.legacy.writing import changed

WHOLE = "paymentProviders"  # in ``Mapping.encrypted``: the host has encrypted the field as a whole


def read(value: Any, mapping: Mapping, cipher: Cipher | None = None) -> LegacyField:
    """Read a field: text, UTF-8 bytes, None, or a value that was JSON.

    Never raises: what cannot be read is a finding. ``cipher`` opens what the host application has encrypted
    (``mapping.encrypted``); without it, that is a finding.
    """
    try:
        plain = _opened(value, mapping, cipher)
    except ValueError as error:
        return LegacyField(
            findings=(Found(LegacyFinding.key_not_decrypted, "", f"The field was not decrypted: {error}."),)
        )
    return resolve(locate(plain, mapping, cipher), mapping)


def write(original: Any, wanted: LegacyField, mapping: Mapping, cipher: Cipher | None = None) -> Any:
    """Change a field so that reading it gives ``wanted``. The result has the type of ``original``; text if that is None.

    ``wanted.sets`` are all sets that the field shall have; one that is missing is removed. What is None in a set, and a
    key or setting that it does not name, stays as it is; an empty ``Secret`` removes a key. A field that does not change
    is returned as it is. Raises ``Unwritable``, and only that, if the field cannot hold the change.
    """
    try:
        plain = _opened(original, mapping, cipher)
    except ValueError as error:
        raise Unwritable(f"The field was not decrypted: {error}.") from None
    written = changed(plain, wanted, mapping, cipher)
    if written is plain or WHOLE not in mapping.encrypted:
        return original if written is plain else written
    if cipher is None:
        raise Unwritable("The field must be encrypted, and no encrypt hook is set up.")
    try:
        text = cipher.encrypt(Secret(written))
    except ValueError as error:
        raise Unwritable(f"The field was not encrypted: {error}.") from None
    return text.encode("utf-8") if isinstance(original, bytes | bytearray | memoryview) else text


def _opened(value: Any, mapping: Mapping, cipher: Cipher | None) -> Any:
    """The field, or its plain text if the host has encrypted it as a whole. ``ValueError`` if that is impossible."""
    if WHOLE not in mapping.encrypted or not value:
        return value
    text = bytes(value).decode("utf-8") if isinstance(value, bytes | bytearray | memoryview) else value
    # A text in a JSON file has quotation marks, which the host did not encrypt.
    if isinstance(text, str) and text[:1] == '"':
        text = json.loads(text)
    if not isinstance(text, str) or not text.startswith(mapping.prefix):
        return value
    if cipher is None:
        raise ValueError("no decrypt hook is set up here")
    return cipher.decrypt(text).reveal()
