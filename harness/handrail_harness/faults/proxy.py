"""A TCP proxy that misbehaves on demand: between workers and a broker, a forwarder and its destination, ...

One thread with an event loop; no process, and nothing is left when it stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine, Iterator
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from handrail_harness.errors import StackError
from handrail_harness.faults.conditions import Conditions
from handrail_harness.faults.link import Link, Network

_T = TypeVar("_T")


class FaultProxy:
    """Carries connections to `target`, under conditions that can be changed at any time; a context manager.

        with FaultProxy("redis://127.0.0.1:6379/0") as proxy:
            start_workers(broker=proxy.url)
            with proxy.faulty(latency=0.2, jitter=0.1):
                ...
            proxy.down(seconds=10)

    `target` is `host:port` or a URL with a port; `url` is the same with the proxy's address in it. It listens on
    loopback, on a port that it keeps while it refuses connections. `seed` makes jitter repeatable. What it
    cannot do is lose single packets: the kernel's TCP on both sides would only send them again.

    Raises `ValueError` for a target without a port, `StackError` when it cannot listen.
    """

    def __init__(self, target: str, *, seed: int | None = None) -> None:
        parts = urlsplit(target if "//" in target else f"//{target}")
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"{target!r} names no host and port; write host:port, or a URL with a port")
        self.target = target
        self.accepted = 0
        """Connections that have been accepted so far."""
        self._parts = parts
        self._network = Network(seed)
        self._place: socket.socket | None = None
        """Bound and never listening, it keeps the port while the listener is away: connections are refused then,
        and nobody else gets the port."""
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._recovery: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def address(self) -> str:
        """Where the proxy listens, as `host:port`. Raises `StackError` while it does not run."""
        if self._place is None:
            raise _not_running()
        host, port = self._place.getsockname()
        return f"{host}:{port}"

    @property
    def url(self) -> str:
        """The target with the proxy's address in place of its own."""
        if "//" not in self.target:
            return self.address
        user, at, _ = self._parts.netloc.rpartition("@")
        return self._parts._replace(netloc=f"{user}{at}{self.address}").geturl()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._links)

    @property
    def conditions(self) -> Conditions:
        """The conditions of this moment."""
        return self._network.conditions

    def start(self) -> FaultProxy:
        """Listen, and carry connections without any fault."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="handrail-faults", daemon=True)
        self._thread.start()
        try:
            self._place = _bound(("127.0.0.1", 0))
            self._do(self._apply(Conditions()))
        except OSError as error:
            self.stop()
            raise StackError(f"the fault proxy cannot listen on loopback: {error.strerror}") from error
        return self

    def stop(self) -> None:
        """Break what is open and listen no more. May be called twice."""
        if self._loop is not None:
            self._do(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = None
        if self._place is not None:
            self._place.close()
            self._place = None

    def set(self, **conditions: Any) -> None:
        """Set the conditions from now on; takes the fields of `Conditions`, others become harmless."""
        self._do(self._change(Conditions(**conditions)))

    def heal(self) -> None:
        """Do no harm from now on; what was held back arrives."""
        self.set()

    @contextlib.contextmanager
    def faulty(self, **conditions: Any) -> Iterator[FaultProxy]:
        """Have conditions for the time of a `with` block."""
        self.set(**conditions)
        try:
            yield self
        finally:
            self.heal()

    def reset(self) -> int:
        """Reset every open connection (RST, in the middle of whatever it carries); return how many."""
        return self._do(self._break())

    def down(self, seconds: float | None = None) -> None:
        """Be gone: refuse connections and reset those that are open; until healed, or for `seconds`."""
        self._do(self._go_down(seconds))

    def _do(self, what: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine in the loop's thread; return or raise what it does."""
        if self._loop is None:
            what.close()
            raise _not_running()
        return asyncio.run_coroutine_threadsafe(what, self._loop).result()

    # --- In the thread of the event loop --------------------------------------------------------------------

    async def _change(self, conditions: Conditions) -> None:
        if self._recovery is not None:
            self._recovery.cancel()
            self._recovery = None
        await self._apply(conditions)

    async def _go_down(self, seconds: float | None) -> None:
        await self._change(Conditions(refuse=True))
        await self._break()
        if seconds is not None:
            self._recovery = asyncio.create_task(self._recover(seconds))

    async def _recover(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._recovery = None
        await self._apply(Conditions())

    async def _apply(self, conditions: Conditions) -> None:
        async with self._lock:
            self._network.set(conditions)
            if conditions.refuse:
                await self._stop_listening()
            elif self._listener is None:
                self._listen()

    def _listen(self) -> None:
        if self._place is None:
            return
        self._listener = _bound(self._place.getsockname())
        self._listener.listen(128)
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listener))

    async def _stop_listening(self) -> None:
        if self._listener is not None and self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
            self._listener.close()
            self._listener = None

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = await asyncio.get_running_loop().sock_accept(listener)
            except OSError:  # accept(2): out of descriptors, or a client that was gone again
                await asyncio.sleep(0.05)
                continue
            self.accepted += 1
            link = Link(self._network, client)
            task = asyncio.create_task(link.run(str(self._parts.hostname), int(self._parts.port or 0)))
            self._links.add(task)
            task.add_done_callback(self._links.discard)
            task.add_done_callback(link.ended)

    async def _break(self) -> int:
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)
        return len(links)

    async def _end(self) -> None:
        if self._recovery is not None:
            self._recovery.cancel()
        await self._stop_listening()
        await self._break()

    def __enter__(self) -> FaultProxy:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _bound(address: tuple[str, int]) -> socket.socket:
    bound = socket.socket()
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _not_running() -> StackError:
    return StackError("the fault proxy is not running; use it in a `with` block, or call start()")
