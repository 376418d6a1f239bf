"""The embedded stack: Redis and the receiver with its store, on this machine, without Docker (DESIGN D14).

What is already there is used (a Redis named by HANDRAIL_REDIS_URL, a server that has the data directory);
what is not is started as a child process and stopped again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from handrail_harness.errors import StackError
from handrail_harness.stack.process import Child
from handrail_harness.stack.redis import URL_VARIABLE, RedisServer, answers, configured_url
from handrail_harness.stack.service import Service

if TYPE_CHECKING:
    from handrail_harness.sources.store import StoreSource
    from handrail_harness.store.location import ServerState

_LOOPBACK = "127.0.0.1,localhost"
_STATE = "stack.json"


class EmbeddedStack(Service):
    """Redis, receiver and store; a context manager.

    `data_dir` is where spans are kept; without one it is a temporary folder that goes with the stack.
    `ports` are the receiver's HTTP and gRPC port, 0 for free ones. With `publish`, a Redis that is started
    here is written down in `data_dir`, so that other stacks there find it.
    """

    patience = 30.0

    def __init__(
        self, data_dir: Path | None = None, *, ports: tuple[int, int] = (0, 0), publish: bool = False
    ) -> None:
        self._temporary = data_dir is None
        self.data_dir = data_dir or Path()
        self._publish = publish
        self.ports = ports
        self.redis_url = ""
        self.started: list[str] = []
        """What this stack started itself, such as `redis`, `receiver`; the rest was found."""
        self._redis: RedisServer | None = None
        self._receiver: Child | None = None
        self._state: ServerState | None = None

    @classmethod
    def find(cls, data_dir: Path) -> EmbeddedStack:
        """Return the stack that is up in `data_dir`, starting nothing; raises `StackError` when none is."""
        from handrail_harness.store.location import DirectoryLock

        stack = cls(data_dir)
        redis_url = find_redis(data_dir)
        if redis_url is None or not DirectoryLock(data_dir).is_held():
            missing = "no Redis" if redis_url is None else "no receiver"
            raise StackError(
                f"{missing} is up for {data_dir}; start it with `handrail up` in another terminal"
            )
        stack.redis_url = redis_url
        stack._await_receiver(stack.patience)
        return stack

    def stop(self) -> None:
        """Stop what was started, spans last; remove a temporary data directory. May be called twice."""
        if self._redis:
            self._redis.stop()
            self._redis = None
            if self._publish:
                (self.data_dir / _STATE).unlink(missing_ok=True)
        if self._receiver:
            self._receiver.close()
            self._receiver = None
        if self._temporary and self.data_dir != Path():
            shutil.rmtree(self.data_dir, ignore_errors=True)
            self.data_dir = Path()

    @property
    def otlp_endpoint(self) -> str:
        """Base URL for OTLP over HTTP, as OTEL_EXPORTER_OTLP_ENDPOINT takes it."""
        return self._server().http_url

    @property
    def grpc_endpoint(self) -> str:
        """`host:port` for OTLP over gRPC."""
        return self._server().grpc_endpoint

    @property
    def broker(self) -> RedisServer | None:
        """The Redis that this stack started, `None` when it was found and is somebody else's."""
        return self._redis

    @property
    def receiver_pid(self) -> int:
        """Process id of the receiver, also when it was found and not started."""
        return self._server().pid

    def pids(self) -> list[int]:
        """Return the processes that this stack has started, as far as they run."""
        return [one.pid for one in (self._redis, self._receiver) if one is not None and one.pid]

    def source(self) -> StoreSource:
        """Return a new `Source` on this stack's store; the caller closes it."""
        from handrail_harness.sources.store import StoreSource

        return StoreSource.open(self.data_dir)

    def environ(self) -> dict[str, str]:
        """Return the variables that make a producer or worker use this stack; add them to its environment."""
        from handrail_harness.store.location import DATA_DIR_VARIABLE

        variables = {
            URL_VARIABLE: self.redis_url,
            DATA_DIR_VARIABLE: str(self.data_dir),
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.otlp_endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            # A spool belongs to its destinations: one that the user has is not forwarded to this store.
            "HANDRAIL_SPOOL_DIR": "",
            # The SDK's 5 s are for production; here somebody is waiting.
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_BLRP_SCHEDULE_DELAY": "100",
        }
        if self.redis_url.startswith(("redis://", "rediss://", "unix://")):
            # Celery lets it go before the broker that an app names in its code. What is behind Sentinels or a
            # cluster takes more than a URL to Celery, so that the app has to name it.
            variables["CELERY_BROKER_URL"] = self.redis_url
        return variables | without_proxy(os.environ)

    def check(self) -> None:
        """Raise `StackError`, with its last words, when a part that was started here has ended."""
        if self._redis and not self._redis.pid:
            raise StackError("redis-server has ended; start the stack again")
        if self._receiver and not self._receiver.running:
            raise StackError(f"the receiver has ended: {self._receiver.log_tail(1)}")

    def _begin(self, timeout: float) -> None:
        """Start or find every part."""
        if self._temporary:
            self.data_dir = Path(tempfile.mkdtemp(prefix="handrail-store-"))
        self._launch_receiver()  # first: it starts while Redis does
        self.redis_url = find_redis(self.data_dir) or self._start_redis()
        self._await_receiver(timeout)

    def _start_redis(self) -> str:
        self._redis = RedisServer()
        self._redis.start()
        self.started.append("redis")
        if self._publish:
            state = self.data_dir / _STATE
            with os.fdopen(os.open(state, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump({"redis_url": self._redis.url}, file)
        return self._redis.url

    def _launch_receiver(self) -> None:
        from handrail_harness.store.location import DirectoryLock, ServerState
        from handrail_harness.store.segments import private_folder

        private_folder(self.data_dir)
        if DirectoryLock(self.data_dir).is_held():
            return
        ServerState.remove(self.data_dir)  # of a server that was killed
        command = [sys.executable, "-m", "handrail_harness.receiver", "--data-dir", str(self.data_dir)]
        command += ["--port", str(self.ports[0]), "--grpc-port", str(self.ports[1])]
        leftovers = [self.data_dir] if self._temporary else []
        self._receiver = Child(command, log_path=self.data_dir / "receiver.log", leftovers=leftovers)
        self.started.append("receiver")

    def _await_receiver(self, timeout: float) -> None:
        from handrail_harness.store.location import ServerState

        if self._receiver:
            self._receiver.wait_until(
                lambda: ServerState.read(self.data_dir) is not None, what="the receiver", timeout=timeout
            )
        self._state = ServerState.read(self.data_dir)
        if self._state is None:
            raise StackError(f"a process has {self.data_dir} but has not said where it listens; stop it")

    def _server(self) -> ServerState:
        if self._state is None:
            raise StackError("the stack has not been started")
        return self._state


def find_redis(data_dir: Path) -> str | None:
    """Return the Redis to use: HANDRAIL_REDIS_URL, else that of a stack in `data_dir`; `None` without either.

    Raises `StackError` when HANDRAIL_REDIS_URL is set and does not answer.
    """
    configured = configured_url()
    if configured:
        return configured
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        url = str(json.loads((data_dir / _STATE).read_text(encoding="utf-8"))["redis_url"])
        if answers(url):
            return url
    return None


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `NO_PROXY` with the loopback addresses added, where a proxy is set; else nothing."""
    if not any(name.lower() in ("http_proxy", "all_proxy") and value for name, value in environment.items()):
        return {}
    before = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    value = ",".join(part for part in (before, _LOOPBACK) if part)
    return {"NO_PROXY": value, "no_proxy": value}


def use_what_is_up(data_dir: Path) -> str | None:
    """Point this process and its children at the stack that is up in `data_dir`; return where spans go then.

    Only fills in what the environment leaves open; an app's own broker stays what it is. `None` when no stack is
    up, or spans have an address already.
    """
    if any(name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith("ENDPOINT") for name in os.environ):
        return None
    try:
        stack = EmbeddedStack.find(data_dir)
    except StackError:
        return None
    for name, value in stack.environ().items():
        if name != "CELERY_BROKER_URL":
            os.environ.setdefault(name, value)
    return stack.otlp_endpoint
