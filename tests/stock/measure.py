"""Measures opentelemetry-instrumentation-celery in the situations of docs/propagation.md.

uv run python -m tests.stock.measure                   # all of them, five minutes
uv run python -m tests.stock.measure retries beat
uv run python -m tests.stock.measure --keep            # and writes figures and table anew
"""

from __future__ import annotations

import argparse
import os
import sys

from ..faults.report import figure, load
from .cells import FIGURES, PAGE, filled
from .situations import SITUATIONS
from .stage import stage


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("situations", nargs="*", metavar="situation", help=", ".join(SITUATIONS))
    parser.add_argument("--keep", action="store_true", help="write figures, and the table with them")
    options = parser.parse_args()
    if options.keep:
        os.environ["HANDRAIL_FIGURES"] = str(FIGURES)
    with stage() as on:
        on.worker()
        for name in options.situations or SITUATIONS:
            numbers = SITUATIONS[name](on)
            print(name, numbers, flush=True)
            if options.keep:
                figure(name, **numbers)
    if options.keep:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), load(FIGURES)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
