"""polytill: payments for multi-tenant software. ``Polytill`` in ``polytill.app`` is the face for embedding."""

from polytill.app import Polytill
from polytill.settings import Settings

__all__ = ["Polytill", "Settings", "__version__"]
__version__ = "0.1.0"
