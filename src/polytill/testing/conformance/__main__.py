"""The suite on the command line: the matrix of the built-in handlers, the planted faults, the document."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from polytill.testing.conformance.document import matrix_text, write_document
from polytill.testing.conformance.planted import score
from polytill.testing.conformance.subjects import SUBJECTS
from polytill.testing.conformance.suite import check_all


def main() -> int:
    """Print what the arguments request. Returns 1 if a check failed or a planted fault was not caught."""
    parser = argparse.ArgumentParser(prog="python -m polytill.testing.conformance", description=__doc__)
    parser.add_argument(
        "--planted", action="store_true", help="break handlers on purpose; the suite must catch every fault"
    )
    parser.add_argument("--write", metavar="FILE", help="write the document (docs/providers.md)")
    asked = parser.parse_args()
    if asked.planted:
        text, missed = score()
        sys.stdout.write(text)
        return 1 if missed else 0
    results = {fixture.handler.code: check_all(fixture) for fixture in SUBJECTS}
    if asked.write:
        Path(asked.write).write_text(write_document(results))
    sys.stdout.write(matrix_text(results))
    failed = [result for found in results.values() for result in found if result.passed is False]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
