"""Keeps the stack of a session for all of its processes: `python -m handrail_harness.testing.keeper FOLDER KIND`.

Nothing but starting it, saying where it is, and stopping it when the last member has gone.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handrail_harness.testing.folders import MEMBERS
from handrail_harness.testing.leftovers import Ledger
from handrail_harness.testing.shared import STATE
from handrail_propagation.errors import HandrailError

_POLL = 0.1  # seconds


def main(folder: Path, kind: str) -> int:
    """Run until no process holds the members' lock; return the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the members; that is what counts here
    ledger = Ledger(f"keeper-{folder.name}")
    ledger.open()
    try:
        with _stack(folder, kind, ledger) as state:
            written = folder / f"{STATE}.new"
            with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump({**state, "kind": kind, "pid": str(os.getpid())}, file)
            written.replace(folder / STATE)
            with open(folder / MEMBERS, "wb") as members:
                while not _alone(members):
                    time.sleep(_POLL)
                (folder / STATE).unlink(missing_ok=True)
    except HandrailError as error:
        print(error, flush=True)
        return 1
    finally:
        ledger.close()
    shutil.rmtree(folder, ignore_errors=True)
    return 0


@contextmanager
def _stack(folder: Path, kind: str, ledger: Ledger) -> Iterator[dict[str, str]]:
    if kind == "redis":
        from handrail_harness.stack.redis import RedisServer

        with RedisServer() as server:
            yield {"redis_url": server.url}
    elif kind == "embedded":
        from handrail_harness.stack.embedded import EmbeddedStack

        with EmbeddedStack(folder / "store", publish=True) as stack:
            yield {"redis_url": stack.redis_url, "data_dir": str(stack.data_dir)}
    else:
        from testcontainers.core.labels import SESSION_ID

        from handrail_harness.stack.containers import ContainerStack

        ledger.note_containers(SESSION_ID)
        with ContainerStack() as containers:
            yield {
                "redis_url": containers.redis_url,
                "jaeger_url": containers.jaeger_url,
                "otlp_endpoint": containers.otlp_endpoint,
            }


def _alone(members: object) -> bool:
    try:
        fcntl.flock(members, fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[arg-type]
    except OSError:
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2]))
