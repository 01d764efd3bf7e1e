"""One practice's ``paymentProviders`` field, in any shape that older code writes: ``read`` it, and ``write`` changes.

Both are pure. ``write`` keeps the shape, everything that is not understood, and the text of what is not changed.
"""

from __future__ import annotations

from typing import Any

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


def read(value: Any, mapping: Mapping, cipher: Cipher | None = None) -> LegacyField:
    """Read a field: text, UTF-8 bytes, None, or a value that was JSON.

    Never raises: what cannot be read is a finding. ``cipher`` opens keys that the host application has encrypted
    (``mapping.encrypted``); without it they are findings.
    """
    return resolve(locate(value, mapping, cipher), mapping)


def write(original: Any, wanted: LegacyField, mapping: Mapping, cipher: Cipher | None = None) -> Any:
    """Change a field so that reading it gives ``wanted``. The result has the type of ``original``; text if that is None.

    ``wanted.sets`` are all sets that the field shall have; one that is missing is removed. What is None in a set, and a
    key or setting that it does not name, stays as it is; an empty ``Secret`` removes a key. A field that does not change
    is returned as it is. Raises ``Unwritable``, and only that, if the field cannot hold the change.
    """
    return changed(original, wanted, mapping, cipher)
