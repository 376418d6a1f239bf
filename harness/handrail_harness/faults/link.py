"""One connection through a bad network: what goes in on one side comes out on the other, or does not."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from typing import Final

from handrail_harness.faults.conditions import Conditions

_CHUNK: Final = 64 << 10
_IN_FLIGHT: Final = 64
"""Chunks under way in one direction; then the sender has to wait, as it would for a full socket."""
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 seconds: close() sends RST (socket(7))


class Network:
    """The conditions that all connections share, and the wait for them to change."""

    def __init__(self, seed: int | None = None) -> None:
        self.conditions = Conditions()
        self.chance = random.Random(seed)  # noqa: S311 - jitter, not a secret
        self._changed = asyncio.Event()

    def set(self, conditions: Conditions) -> None:
        """Change the conditions; data that is under way feels it at once."""
        self.conditions = conditions
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def wait(self, seconds: float | None) -> None:
        """Return when the conditions change, or after `seconds`."""
        changed = self._changed
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), seconds)


class Cut(Exception):
    """The connection has carried what it may carry."""


class Link:
    """A client's connection and ours to the target. `run()` carries until both have ended, or one breaks."""

    def __init__(self, network: Network, client: socket.socket) -> None:
        self._network = network
        self._client = client
        self._target = socket.socket()
        self._loop = asyncio.get_running_loop()
        self._whole = False

    async def run(self, host: str, port: int) -> None:
        """Connect to the target and carry; a target that cannot be reached breaks the client's connection."""
        try:
            await self._connect(host, port)
            async with asyncio.TaskGroup() as carrying:
                carrying.create_task(self._carry(self._client, self._target, "cut_requests_after"))
                carrying.create_task(self._carry(self._target, self._client, "cut_answers_after"))
            self._whole = True
        except* (OSError, Cut):
            pass  # what broke on one side is broken on the other by close()
        finally:
            self.close()

    def close(self) -> None:
        """Close both ends, with a reset unless both had said that they were done. May be called twice."""
        for end in (self._client, self._target):
            if not self._whole:
                with contextlib.suppress(OSError):  # closed already
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.close()

    def ended(self, task: asyncio.Task[None]) -> None:
        """Called when `run()` is over; a task that was cancelled before it ran has closed nothing."""
        self.close()

    async def _connect(self, host: str, port: int) -> None:
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        self._target.close()
        self._target = socket.socket(family, socket.SOCK_STREAM)
        self._target.setblocking(False)
        await self._loop.sock_connect(self._target, address)
        for end in (self._client, self._target):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # delays are ours to make

    async def _carry(self, source: socket.socket, sink: socket.socket, limit: str) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._receive(source, under_way))
            both.create_task(self._deliver(under_way, sink, limit))

    async def _receive(self, source: socket.socket, under_way: asyncio.Queue[tuple[float, bytes]]) -> None:
        while True:
            data = await self._loop.sock_recv(source, _CHUNK)
            await under_way.put((self._loop.time(), data))
            if not data:
                return

    async def _deliver(
        self, under_way: asyncio.Queue[tuple[float, bytes]], sink: socket.socket, limit: str
    ) -> None:
        passed = 0
        while True:
            sent, data = await under_way.get()
            share = self._network.chance.random()
            await self._due(sent, share)
            if not data:
                with contextlib.suppress(OSError):  # gone already
                    sink.shutdown(socket.SHUT_WR)
                return
            while data:
                piece = self._piece(data)
                await self._spread(len(piece))
                await self._due(sent, share)
                most: int | None = getattr(self._network.conditions, limit)
                if most is not None and passed + len(piece) > most:
                    await self._loop.sock_sendall(sink, piece[: max(0, most - passed)])
                    raise Cut
                await self._loop.sock_sendall(sink, piece)
                passed += len(piece)
                data = data[len(piece) :]

    async def _due(self, sent: float, share: float) -> None:
        """Return when data that was sent at `sent` may arrive, under the conditions of each moment."""
        while True:
            now = self._network.conditions
            left = sent + now.latency + share * now.jitter - self._loop.time()
            if not now.stall and left <= 0:
                return
            await self._network.wait(None if now.stall else left)

    async def _spread(self, size: int) -> None:
        """Wait as long as `size` bytes take."""
        began = self._loop.time()
        while (rate := self._network.conditions.bytes_per_second) is not None:
            left = began + size / rate - self._loop.time()
            if left <= 0:
                return
            await self._network.wait(left)

    def _piece(self, data: bytes) -> bytes:
        rate = self._network.conditions.bytes_per_second
        return data if rate is None else data[: max(1, int(rate / 20))]
