"""The run journal where Redis really is: over TLS, behind a Sentinel, on a cluster."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from handrail_agents import Done, redis_journal
from handrail_agents.errors import JournalError
from handrail_agents.journal import Invocation, Journal
from handrail_agents.lease import new_holder
from handrail_agents.redis_client import connect
from handrail_agents.redis_journal import RedisJournal, of_broker
from handrail_harness.stack.certificates import ServerCertificate
from handrail_harness.stack.redis import RedisServer, answers

from ..support.closing import close_redis
from .topologies import MASTER, cluster_of_three, make_certificate, watched_by_sentinel

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close, in the end, what the journals of a test have open."""
    clients: list[Any] = []

    def connected(*args: Any, **options: Any) -> Any:
        clients.append(connect(*args, **options))
        return clients[-1]

    monkeypatch.setattr(redis_journal, "connect", connected)
    yield
    for client in clients:
        close_redis(client)


def open_run(journal: Journal) -> Invocation:
    """Open a run, delegate from it and park it."""
    run_id = secrets.token_hex(16)
    root = Invocation(run_id, run_id, "planner")
    holder = new_holder()
    journal.open(root)
    assert journal.begin(run_id, root.id, "planner", holder).began == "go"
    child = root.child(1, 0, "scout")
    assert journal.delegate(root, holder, "1:delegate", "{}", [child]) is None
    assert journal.park(run_id, root.id, holder, [child.id]) is None
    return child


def finish_run(journal: Journal, child: Invocation) -> None:
    """Let the child finish, which wakes the root, and the root with it."""
    holder = new_holder()
    assert journal.begin(child.run_id, child.id, "scout", holder).began == "go"
    wake = journal.settle(child.run_id, child.id, holder, Done("found"))
    assert wake is not None
    assert (wake.invocation, wake.agent) == (child.run_id, "planner")
    segment = journal.begin(child.run_id, child.run_id, "planner", holder)
    assert segment.began == "go"
    assert segment.entries["1:delegate"] == "{}"
    journal.settle(child.run_id, child.run_id, holder, Done("done"))
    assert journal.outcome(child.run_id) == Done("done")


def of_app(url: str, **settings: object) -> RedisJournal:
    """The journal that goes with a Celery app's broker."""
    app = Celery("ops", broker=url, set_as_current=False)
    app.conf.update(settings)
    journal = of_broker(app)
    assert journal is not None
    return journal


def test_over_tls(certificate: ServerCertificate, tmp_path: Path) -> None:
    """`rediss://` in redis-py's and in Celery's spelling, and `broker_use_ssl`; a stranger's server is not believed."""
    with RedisServer(certificate=certificate) as server:
        assert answers(server.url)
        address = server.url.split("?")[0]
        trusted = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": str(certificate.authority)}
        for journal in (
            RedisJournal(server.url),
            RedisJournal(server.url.replace("required", "CERT_REQUIRED")),
            of_app(address, broker_use_ssl=trusted),
            of_app(address.replace("rediss://", "redis://"), broker_use_ssl=trusted),
        ):
            finish_run(journal, open_run(journal))
        stranger = make_certificate(tmp_path).authority
        with pytest.raises(JournalError, match="does not answer") as refused:
            open_run(of_app(address, broker_use_ssl=trusted | {"ssl_ca_certs": str(stranger)}))
        assert server.password not in str(refused.value)


def test_behind_a_sentinel() -> None:
    """A run that is parked when its Redis dies goes on from the new master, through the URL or Celery's settings."""
    with watched_by_sentinel() as watched:
        journals = [
            RedisJournal(f"{watched.url}?master_name={MASTER}"),
            of_app(watched.url, broker_transport_options={"master_name": MASTER}),
        ]
        parked = [open_run(journal) for journal in journals]
        watched.fail_over()
        for journal, child in zip(journals, parked, strict=True):
            finish_run(journal, child)
        with pytest.raises(JournalError, match="master_name"):
            of_app(watched.url)


def test_behind_a_sentinel_over_tls(certificate: ServerCertificate, tmp_path: Path) -> None:
    """Sentinels and master over TLS, by the URL or by Celery's settings; of another authority nothing is believed."""
    with watched_by_sentinel(certificate) as watched:
        trusted = {"ssl_cert_reqs": "required", "ssl_ca_certs": str(certificate.authority)}
        by_url = f"{watched.url}?master_name={MASTER}&ssl_cert_reqs=required&ssl_ca_certs="
        options = {"master_name": MASTER, "sentinel_kwargs": {"ssl": True, **trusted}}
        journals = [
            RedisJournal(by_url + str(certificate.authority)),
            of_app(watched.url, broker_transport_options=options, broker_use_ssl=trusted),
        ]
        parked = [open_run(journal) for journal in journals]
        watched.fail_over()
        for journal, child in zip(journals, parked, strict=True):
            finish_run(journal, child)
        stranger = make_certificate(tmp_path).authority
        with pytest.raises(JournalError, match="does not answer"):
            open_run(RedisJournal(by_url + str(stranger)))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_on_a_cluster(tls: bool, request: pytest.FixtureRequest) -> None:
    """All keys of a run are in one slot; the runs are spread over all nodes, whichever node the URL names."""
    certificate = request.getfixturevalue("certificate") if tls else None
    with cluster_of_three(certificate) as nodes:
        for node in nodes:
            journal = RedisJournal(node.url.replace("://", "+cluster://"))
            for _ in range(8):
                finish_run(journal, open_run(journal))
        for node in nodes:
            with redis.Redis.from_url(node.url) as client:
                assert client.dbsize() > 0
    with pytest.raises(JournalError, match="does not answer"):
        RedisJournal(f"redis+cluster://127.0.0.1:{nodes[0].port}")
