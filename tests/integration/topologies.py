"""Redis as it is deployed: a master with a replica behind a Sentinel, and a cluster of three."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
import trustme

from handrail_harness.stack.certificates import ServerCertificate
from handrail_harness.stack.process import Child
from handrail_harness.stack.redis import RedisServer, find_executable
from handrail_harness.stack.server import free_port

from ..support.waiting import wait_for

MASTER = "mymaster"
SLOTS = 16384


def make_certificate(folder: Path) -> ServerCertificate:
    """Write a certificate for 127.0.0.1 and localhost, of an authority that nobody else knows."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    files = ServerCertificate(folder / "authority.pem", folder / "server.pem", folder / "server.key")
    authority.cert_pem.write_to_path(files.authority)
    files.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(files.key)
    return files


@dataclass(frozen=True, slots=True)
class Watched:
    """A master and its replica, watched by a Sentinel."""

    master: RedisServer
    replica: RedisServer
    sentinel_port: int
    certificate: ServerCertificate | None = None
    """Of all three, where they speak TLS and nothing else."""

    def sentinel(self) -> redis.Redis:
        """A client of the Sentinel."""
        return _sentinel_client(self.sentinel_port, self.certificate)

    @property
    def url(self) -> str:
        """Celery's URL; the name of the master goes beside it."""
        return f"sentinel://:{self.master.password}@127.0.0.1:{self.sentinel_port}/0"

    def fail_over(self) -> None:
        """Kill the master and wait until the Sentinel has made the replica master."""
        with redis.Redis.from_url(self.master.url) as client:
            client.set("written-last", 1)  # WAIT is for what its own connection has written
            wait_for(lambda: int(client.wait(1, 1000)) == 1, "the replica's copy")
        with self.sentinel() as client:
            client.sentinel_set(MASTER, "down-after-milliseconds", 500)
        self.master.kill()
        with redis.Redis.from_url(self.replica.url) as client:
            wait_for(lambda: _is_master(client), "the failover")
        with self.sentinel() as client:
            wait_for(
                lambda: int(client.sentinel_get_master_addr_by_name(MASTER)[1]) == self.replica.port,
                "the Sentinel's new master",
            )


def _is_master(client: redis.Redis) -> bool:
    try:
        return bool(client.role()[0] == b"master")
    except (
        redis.ConnectionError
    ):  # the Sentinel has a server that becomes master close its clients' connections
        return False


@contextmanager
def watched_by_sentinel(certificate: ServerCertificate | None = None) -> Iterator[Watched]:
    """Start a master, a replica and one Sentinel, which is a majority of its own; with a certificate all over TLS."""
    with ExitStack() as parts:
        password = secrets.token_hex(8)
        settings = {"masterauth": password} | ({"tls-replication": "yes"} if certificate else {})
        master = parts.enter_context(
            RedisServer(password=password, settings=settings, certificate=certificate)
        )
        following = settings | {"replicaof": f"127.0.0.1 {master.port}"}
        replica = parts.enter_context(
            RedisServer(password=password, settings=following, certificate=certificate)
        )
        folder = Path(tempfile.mkdtemp(prefix="handrail-sentinel-"))
        parts.callback(shutil.rmtree, folder)
        port = free_port()
        config = folder / "sentinel.conf"
        config.write_text(
            f"bind 127.0.0.1\n{_listening(port, certificate)}dir {folder}\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {master.port} 1\n"
            f"sentinel auth-pass {MASTER} {password}\n"
            # Long, until it is killed: on a busy machine a master is silent for a moment, too
            f"sentinel down-after-milliseconds {MASTER} 60000\n"
            f"sentinel failover-timeout {MASTER} 2000\n"
        )
        sentinel = Child(
            [find_executable(), str(config), "--sentinel"],
            log_path=folder / "sentinel.log",
            leftovers=[folder],
        )
        parts.callback(sentinel.close, grace=2)
        with _sentinel_client(port, certificate) as client:
            sentinel.wait_until(
                lambda: _sees_replica(client), what="the Sentinel (it looks for replicas)", timeout=60
            )
        yield Watched(master, replica, port, certificate)


def _listening(port: int, certificate: ServerCertificate | None) -> str:
    if certificate is None:
        return f"port {port}\n"
    return (
        f"port 0\ntls-port {port}\ntls-replication yes\ntls-auth-clients no\n"
        f"tls-cert-file {certificate.certificate}\ntls-key-file {certificate.key}\n"
        f"tls-ca-cert-file {certificate.authority}\n"
    )


def _sentinel_client(port: int, certificate: ServerCertificate | None) -> redis.Redis:
    if certificate is None:
        return redis.Redis(port=port, decode_responses=True)
    return redis.Redis(port=port, decode_responses=True, ssl=True, ssl_ca_certs=str(certificate.authority))


def _sees_replica(client: redis.Redis) -> bool:
    try:
        return any(found["master-link-status"] == "ok" for found in client.sentinel_slaves(MASTER))
    except redis.RedisError:
        return False


@contextmanager
def cluster_of_three(certificate: ServerCertificate | None = None) -> Iterator[list[RedisServer]]:
    """Start three masters that share the slots between them; with a certificate all over TLS."""
    with ExitStack() as parts:
        password = secrets.token_hex(8)
        nodes = []
        buses = [free_port() for _ in range(3)]
        for bus in buses:
            settings = {
                "cluster-enabled": "yes",
                "cluster-config-file": "nodes.conf",
                "cluster-port": str(bus),
                "cluster-node-timeout": "2000",
            }
            if certificate:
                settings["tls-cluster"] = "yes"
            nodes.append(
                parts.enter_context(
                    RedisServer(password=password, settings=settings, certificate=certificate)
                )
            )
        clients = [
            parts.enter_context(redis.Redis.from_url(node.url, decode_responses=True)) for node in nodes
        ]
        bounds = [SLOTS * number // len(nodes) for number in range(len(nodes) + 1)]
        for client, first, end in zip(clients, bounds, bounds[1:], strict=False):
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
        for node, bus in zip(nodes[1:], buses[1:], strict=True):
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", node.port, bus)
        wait_for(
            lambda: all(
                client.cluster("INFO")["cluster_state"] == "ok"
                and int(client.cluster("INFO")["cluster_known_nodes"]) == len(nodes)
                for client in clients
            ),
            "the cluster",
        )
        yield nodes
