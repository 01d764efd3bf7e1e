"""The public suite that every handler passes: write one ``ProviderFixture``, no code, and get all checks as tests.

    from polytill.testing.conformance import Conformance, ProviderFixture

    class TestAcme(Conformance):
        fixture = ProviderFixture(handler=AcmeProvider, …)

``python -m polytill.testing.conformance`` prints the matrix of the built-in handlers. ``--planted`` tests the suite: it
breaks handlers in every way that loses money, and prints how many of the faults were caught.
"""

from polytill.testing.conformance.fixture import Delivery, Example, ProviderFixture, Sample, Signature
from polytill.testing.conformance.suite import Conformance, Result, check_all

__all__ = ["Conformance", "Delivery", "Example", "ProviderFixture", "Result", "Sample", "Signature", "check_all"]
