"""`python -m handrail_harness.receiver`: what `handrail serve` runs, as a child process of a stack."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from handrail_harness.errors import StackError
from handrail_harness.receiver.server import Receiver, run_until_signalled
from handrail_harness.receiver.settings import Settings


def main() -> int:
    """Serve on free ports of the loopback interface until told to stop."""
    parser = argparse.ArgumentParser(prog="handrail_harness.receiver")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--grpc-port", type=int, default=0)
    options = parser.parse_args()
    settings = Settings(port=options.port, grpc_port=options.grpc_port, data_dir=options.data_dir)
    try:
        run_until_signalled(Receiver(settings, _report), lambda state: None)
    except StackError as error:
        _report(str(error))
        return 2
    return 0


def _report(line: str) -> None:
    print(f"handrail: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
