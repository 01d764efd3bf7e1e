"""polytill: payments for multi-tenant software. ``polytill.app.Polytill`` is the entry point for embedding."""

from polytill.app import Polytill
from polytill.settings import Settings

__all__ = ["Polytill", "Settings", "__version__"]
__version__ = "0.1.0"
