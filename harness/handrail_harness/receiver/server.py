"""One process that takes exports in, keeps them and answers queries: `handrail serve` put together."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

from handrail_harness.errors import StackError
from handrail_harness.receiver.settings import Settings
from handrail_harness.store.location import ServerState
from handrail_harness.store.store import Store


class Receiver:
    """OTLP over HTTP and gRPC in front of a `Store`; a context manager.

    Listens from `start()` on, in threads of its own. `report` gets one line for whatever a person should
    know.
    """

    def __init__(self, settings: Settings, report: Callable[[str], None]) -> None:
        self.settings = settings
        self._report = report
        self.state: ServerState | None = None
        self._stops: list[Callable[[], None]] = []

    def report(self, line: str) -> None:
        """Tell a person; a terminal or log file that takes nothing must not stop the receiver."""
        with contextlib.suppress(OSError):
            self._report(line)

    def start(self) -> ServerState:
        """Open the store, bind both ports, publish how to reach them; raises `StackError`."""
        from starlette.applications import Starlette

        from handrail_harness.receiver import http, query
        from handrail_harness.receiver.rpc import GrpcReceiver

        settings, token = self.settings, secrets.token_urlsafe(32)
        try:
            listener = _listen(settings)
            self._stops.append(listener.close)
            store = Store(settings.data_dir, self.report)
            self._stops.append(store.close)
            grpc = GrpcReceiver(store, settings)
            self._stops.append(grpc.stop)
            grpc.start()
            app = Starlette(routes=[*http.routes(store, settings), *query.routes(store, settings, token)])
            self._stops.append(_serve_http(app, listener))
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            self.state = ServerState(
                pid=os.getpid(),
                http_url=f"http://{_reachable(host)}:{listener.getsockname()[1]}",
                grpc_endpoint=f"{_reachable(host)}:{grpc.port}",
                token=token,
            )
            self.state.write(settings.data_dir)
            self._stops.append(lambda: ServerState.remove(settings.data_dir))
        except BaseException:
            self.stop()
            raise
        return self.state

    def stop(self) -> None:
        """Answer what is under way, index what was taken, give the directory up. May be called twice."""
        while self._stops:
            self._stops.pop()()

    def __enter__(self) -> Receiver:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def run_until_signalled(receiver: Receiver, ready: Callable[[ServerState], None]) -> None:
    """Serve until SIGINT or SIGTERM, in the main thread; `ready` is called once both ports answer."""
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with receiver:
            if receiver.state:
                ready(receiver.state)
            stopping.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is given; without it every answer takes 40 ms longer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise StackError(
            f"cannot listen on {settings.host} port {settings.port}: {reason}; "
            "stop what listens there, or choose another with --port (0 takes a free one)"
        ) from None
    return listener


def _serve_http(app: object, listener: socket.socket) -> Callable[[], None]:
    """Serve in a thread; return what stops it."""
    import uvicorn

    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=3,
        server_header=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="handrail-http", daemon=True
    )
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join()

    return stop


def _reachable(host: str) -> str:
    """Return the address at which this machine reaches what listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - looked for, not bound
