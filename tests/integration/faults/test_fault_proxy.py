"""The fault proxy: each fault does to real sockets what it says, while connections are open, and can be healed."""

from __future__ import annotations

import contextlib
import queue
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest
import redis

from handrail_harness.errors import StackError
from handrail_harness.faults import Conditions, FaultProxy

pytestmark = pytest.mark.integration


class _Echo(socketserver.BaseRequestHandler):
    received: queue.SimpleQueue[int] = queue.SimpleQueue()
    """How many bytes each connection had received when it ended."""

    def handle(self) -> None:
        received = type(self).received  # of the test that connected
        total = 0
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(65536):
                total += len(data)
                self.request.sendall(data)
        received.put(total)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    """A server that sends back what it gets."""
    with _Server(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(echo: str) -> Iterator[FaultProxy]:
    """A proxy in front of the echo server."""
    with FaultProxy(echo, seed=1) as running:
        yield running


def _connect(proxy: FaultProxy) -> socket.socket:
    host, _, port = proxy.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return data


def _threads_of_a_proxy() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "handrail-faults"}


def _rest(connection: socket.socket) -> bytes:
    """What still comes before the connection is reset; an orderly end is a failure."""
    data = b""
    while True:
        try:
            more = connection.recv(65536)
        except ConnectionResetError:
            return data
        assert more, f"ended in good order after {data!r}"
        data += more


def _wait_for(proxy: FaultProxy, connections: int) -> None:
    deadline = time.monotonic() + 20
    while proxy.connections != connections and time.monotonic() < deadline:
        time.sleep(0.005)
    assert proxy.connections == connections


def test_without_a_fault_everything_gets_through(proxy: FaultProxy) -> None:
    """A megabyte comes back unchanged, an end of one side is an end of the other, nothing stays open."""
    data = bytes(range(256)) * 4096
    with _connect(proxy) as connection:
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        assert _read(connection, len(data)) == data
        sender.join()
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    _wait_for(proxy, 0)
    assert proxy.accepted == 1


def test_refused_connections_leave_open_ones_alone(proxy: FaultProxy) -> None:
    """While connections are refused an open one goes on, and the port is kept until they are taken again."""
    address = proxy.address
    with _connect(proxy) as connection:
        _wait_for(proxy, 1)
        with proxy.faulty(refuse=True):
            with pytest.raises(ConnectionRefusedError):
                _connect(proxy)
            connection.sendall(b"still here")
            assert _read(connection, 10) == b"still here"
        assert proxy.address == address
        with _connect(proxy) as second:
            second.sendall(b"again")
            assert _read(second, 5) == b"again"


def test_reset_breaks_what_is_open(proxy: FaultProxy) -> None:
    """Both ends see a reset, not an end; new connections work at once."""
    with _connect(proxy) as connection:
        connection.sendall(b"x")
        assert _read(connection, 1) == b"x"
        assert proxy.reset() == 1
        _rest(connection)
    with _connect(proxy) as second:
        second.sendall(b"y")
        assert _read(second, 1) == b"y"


def test_down_comes_back_by_itself(proxy: FaultProxy) -> None:
    """Down means refused and reset; after the time that was named the same port answers again."""
    with _connect(proxy) as connection:
        connection.sendall(b"x")
        _read(connection, 1)
        proxy.down(seconds=0.2)
        _rest(connection)
    deadline = time.monotonic() + 20
    while proxy.conditions.refuse and time.monotonic() < deadline:
        time.sleep(0.01)
    with _connect(proxy) as second:
        second.sendall(b"y")
        assert _read(second, 1) == b"y"


def test_healed_by_hand_is_not_undone_by_the_clock(proxy: FaultProxy) -> None:
    """Conditions that are set while the proxy is down for a time are not overwritten when that time is over."""
    proxy.down(seconds=0.05)
    proxy.set(latency=0.001)
    time.sleep(0.1)
    assert proxy.conditions == Conditions(latency=0.001)


@pytest.mark.parametrize("conditions", [{"stall": True}, {"latency": 3600.0}, {"bytes_per_second": 0.001}])
def test_held_back_data_arrives_when_healed(proxy: FaultProxy, conditions: dict[str, float]) -> None:
    """What stalls, or is under way for an hour, does not arrive; it does as soon as the network is healed."""
    with _connect(proxy) as connection:
        with proxy.faulty(**conditions):
            connection.sendall(b"patience")
            connection.settimeout(0.1)
            with pytest.raises(TimeoutError):
                connection.recv(8)
        connection.settimeout(20)
        assert _read(connection, 8) == b"patience"


def test_latency_and_jitter_delay_and_keep_the_order(proxy: FaultProxy) -> None:
    """A round trip takes at least twice the latency, and jitter does not change the order of bytes."""
    with _connect(proxy) as connection, proxy.faulty(latency=0.05, jitter=0.02):
        began = time.monotonic()
        for number in range(20):
            connection.sendall(bytes([number]))
        assert _read(connection, 20) == bytes(range(20))
        assert time.monotonic() - began >= 0.1


def test_bandwidth_is_limited(proxy: FaultProxy) -> None:
    """40 kB at 200 kB/s take at least 0.2 s."""
    with _connect(proxy) as connection, proxy.faulty(bytes_per_second=200_000):
        began = time.monotonic()
        connection.sendall(b"x" * 40_000)
        assert len(_read(connection, 40_000)) == 40_000
        assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("most", [0, 1, 10_000])
def test_a_request_is_cut_off(proxy: FaultProxy, most: int) -> None:
    """Exactly so many bytes get to the target, then both ends are reset."""
    _Echo.received = queue.SimpleQueue()  # a connection of an earlier test may end only now
    with _connect(proxy) as connection, proxy.faulty(cut_requests_after=most, bytes_per_second=200_000):
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"x" * 100_000)
        assert len(_rest(connection)) <= most
    assert _Echo.received.get(timeout=20) == most


def test_an_answer_is_cut_off(proxy: FaultProxy) -> None:
    """The target gets everything, and the client learns no more of its answer than was allowed."""
    with _connect(proxy) as connection, proxy.faulty(cut_answers_after=3):
        connection.sendall(b"question")
        assert _rest(connection) == b"que"


def test_a_target_that_is_gone_breaks_the_connection() -> None:
    """Nothing listens behind the proxy: a client is connected, and then reset."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with FaultProxy(f"127.0.0.1:{nobody.getsockname()[1]}") as proxy:
            # As early as in `connect`, where the proxy is quick
            with pytest.raises(ConnectionResetError), _connect(proxy) as connection:
                connection.recv(1)
            assert proxy.accepted == 1


def test_a_broker_behind_it(redis_url: str) -> None:
    """A Redis client takes the proxy's URL, password and all, and survives its connection being reset."""
    with FaultProxy(redis_url) as proxy, redis.Redis.from_url(proxy.url) as client:
        assert client.ping()
        assert proxy.reset() == 1
        assert client.ping()
        assert proxy.accepted == 2


def test_nothing_is_left(echo: str) -> None:
    """When it has stopped its thread is gone, its port is free and open connections are broken."""
    before = set(threading.enumerate())
    with FaultProxy(echo) as proxy:
        address = proxy.address
        assert _threads_of_a_proxy() - before
        connection = _connect(proxy)
        connection.sendall(b"x")
        _read(connection, 1)
    _rest(connection)
    connection.close()
    assert _threads_of_a_proxy() <= before
    host, _, port = address.rpartition(":")
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind((host, int(port)))
    proxy.stop()
    with pytest.raises(StackError, match="not running"):
        proxy.heal()


@pytest.mark.parametrize("target", ["127.0.0.1", "redis://localhost/0", ""])
def test_a_target_needs_a_port(target: str) -> None:
    """What names no port is refused at once, with what to write instead."""
    with pytest.raises(ValueError, match="host:port"):
        FaultProxy(target)


@pytest.mark.parametrize("wrong", [{"latency": -1}, {"cut_answers_after": -1}, {"bytes_per_second": 0}])
def test_impossible_conditions_are_refused(wrong: dict[str, float]) -> None:
    """Negative numbers, and a bandwidth of nothing, are an error where they are written."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Conditions(**wrong)  # type: ignore[arg-type]
