"""The fixtures of the built-in handlers, which also serve as examples."""

from polytill.testing.conformance.fixture import ProviderFixture
from polytill.testing.conformance.subjects.flutterwave import FLUTTERWAVE
from polytill.testing.conformance.subjects.flutterwave_v4 import FLUTTERWAVE_V4
from polytill.testing.conformance.subjects.manual import MANUAL
from polytill.testing.conformance.subjects.mpesa import MPESA
from polytill.testing.conformance.subjects.paypal import PAYPAL
from polytill.testing.conformance.subjects.paystack import PAYSTACK
from polytill.testing.conformance.subjects.stripe import STRIPE

SUBJECTS: tuple[ProviderFixture, ...] = (STRIPE, PAYSTACK, FLUTTERWAVE, FLUTTERWAVE_V4, MPESA, PAYPAL, MANUAL)
