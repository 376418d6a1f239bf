"""A real Celery worker as a child process: started, waited for, stopped warm or killed.

The command line is Celery's own, so that what a test sees is what `celery -A ops worker` does.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from handrail_harness.errors import StackError
from handrail_harness.stack.process import Child

_READY = re.compile(r"\S+@\S+ ready\.")
_LAST_WORDS = 8  # lines of a log: the last one alone may be small print
# Seconds. A pool child that the main process has stopped listening to waits 30 s to be heard before it ends.
_WARM = 45.0


class Worker:
    """`celery -A module:app worker -Q queues` as a subprocess; a context manager.

    `app` is `module:attribute` (or `module`), found from `cwd` and PYTHONPATH; `queues` are queue names (all
    queues of the app's configuration when empty); `env` is added to this process's environment. `pool` is
    Celery's (`prefork`, `solo`, `threads`, `gevent`), `concurrency` the number of pool children.
    """

    def __init__(
        self,
        app: str,
        queues: Sequence[str] = (),
        *,
        concurrency: int = 1,
        pool: str = "prefork",
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
        arguments: Sequence[str] = (),
        hostname: str | None = None,
        log_path: Path | None = None,
    ) -> None:
        self.hostname = hostname or f"w{secrets.token_hex(4)}@{socket.gethostname()}"
        self.queues = tuple(queues)
        """The queues that it was given; empty for all of the app's."""
        self._owns_log = log_path is None
        self._log_path = log_path
        self._env = {**os.environ, **(env or {})}
        self._cwd = Path(cwd) if cwd is not None else None
        self._child: Child | None = None
        self.command = [sys.executable, "-m", "celery", "-A", app, "worker"]
        if queues:
            self.command += ["-Q", ",".join(queues)]
        self.command += ["-P", pool, "-c", str(concurrency), "-n", self.hostname, "-l", "INFO"]
        # Mingling waits a second for neighbours; neither it nor gossip changes what happens to a message.
        self.command += ["--without-mingle", "--without-gossip", *arguments]

    @property
    def pid(self) -> int:
        """Process id of the worker's main process."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether the worker's main process runs."""
        return self._child is not None and self._child.running

    @property
    def exit_status(self) -> int | None:
        """Exit status of the main process, 128 + signal number when killed; `None` before its end."""
        return self._child.exit_status if self._child else None

    def pool_pids(self) -> list[int]:
        """Return the process ids of the pool's children (prefork), oldest first."""
        import psutil

        children = psutil.Process(self.pid).children()
        return [child.pid for child in sorted(children, key=lambda child: child.create_time())]

    def start(self, *, timeout: float = 60.0) -> Worker:
        """Start the worker and wait until it is ready; raises `StackError` with its last words."""
        return self.launch().wait_ready(timeout=timeout)

    def launch(self) -> Worker:
        """Start the worker without waiting, so that several can start at the same time."""
        if self._log_path is None:
            handle, name = tempfile.mkstemp(prefix="handrail-worker-", suffix=".log")
            os.close(handle)
            self._log_path = Path(name)
        self._child = Child(
            self.command,
            log_path=self._log_path,
            env=self._env,
            cwd=self._cwd,
            leftovers=[self._log_path] if self._owns_log else [],
        )
        return self

    def wait_ready(self, *, timeout: float = 60.0) -> Worker:
        """Wait until a launched worker takes messages; stops it and raises `StackError` when it does not."""
        child = self._running()
        try:
            child.wait_until(
                lambda: _READY.search(child.log()) is not None,
                what=f"worker {self.hostname}",
                timeout=timeout,
                lines=_LAST_WORDS,
            )
        except BaseException:
            self.stop(timeout=2)
            raise
        return self

    def ask_to_stop(self) -> None:
        """Send SIGTERM and return at once, so that several can stop at the same time."""
        if self._child:
            self._child.send_signal(signal.SIGTERM)

    def stop(self, *, timeout: float = _WARM) -> None:
        """Stop warm: SIGTERM, so that running tasks end first; SIGKILL after `timeout` seconds.

        Celery takes half a minute where SIGTERM meets a message on its way to a pool child (docs/limits.md).
        """
        if self._child:
            self._child.close(grace=timeout)

    def kill(self) -> None:
        """SIGKILL the main process, as the kernel's out-of-memory killer would; its pool children go, too."""
        self._running().kill()

    def kill_pool(self) -> list[int]:
        """SIGKILL every pool child; the main process stays and replaces them. Returns the pids of those it met."""
        killed = []
        for pid in self.pool_pids():
            with suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        return killed

    def log(self, lines: int | None = None) -> str:
        """Return what the worker has printed, the last `lines` lines of it when given."""
        if self._child is None:
            return ""
        return self._child.log() if lines is None else self._child.log_tail(lines)

    def remove_log(self) -> None:
        """Remove the log of a worker that has stopped, unless the caller chose its place."""
        if self._owns_log and self._log_path and not self.running:
            self._log_path.unlink(missing_ok=True)

    def __enter__(self) -> Worker:
        """Start the worker, unless whoever gave it has: `with handrail.worker(...)` stops it at the block's end."""
        return self if self.running else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None:
            self.remove_log()

    def _running(self) -> Child:
        if self._child is None:
            raise StackError(f"worker {self.hostname} has not been started")
        return self._child


@contextmanager
def running(workers: Sequence[Worker]) -> Iterator[None]:
    """Start workers side by side, wait until all are ready; stop them warm and side by side in the end."""
    try:
        for worker in workers:
            worker.launch()
        for worker in workers:
            worker.wait_ready()
        yield
    finally:
        for worker in workers:
            worker.ask_to_stop()
        for worker in workers:
            worker.stop()
