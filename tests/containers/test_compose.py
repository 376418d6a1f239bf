"""compose.yaml: what a user brings up by hand carries a run, too, and names the images that the code names."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from handrail_harness.rules import check
from handrail_harness.sources.jaeger import JaegerSource
from handrail_harness.stack.collector_container import COLLECTOR_IMAGE
from handrail_harness.stack.daemon import publishes_on_loopback
from handrail_harness.stack.health import is_healthy
from handrail_harness.stack.jaeger_container import JAEGER_IMAGE
from handrail_harness.stack.rabbitmq_container import RABBITMQ_IMAGE
from handrail_harness.stack.redis import answers
from handrail_harness.stack.redis_container import REDIS_IMAGE
from handrail_harness.stack.server import free_port
from handrail_propagation import conventions as names

from ..support.waiting import wait_for
from .support import Fleet, docker_leftovers, forest_of_run

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose.yaml"
PORTS = (
    "HANDRAIL_REDIS_PORT",
    "HANDRAIL_JAEGER_UI_PORT",
    "HANDRAIL_OTLP_GRPC_PORT",
    "HANDRAIL_OTLP_HTTP_PORT",
    "HANDRAIL_JAEGER_STATUS_PORT",
    "HANDRAIL_COLLECTOR_STATUS_PORT",
    "HANDRAIL_RABBITMQ_PORT",
)


SEND_EXAMPLE = """
from handrail_propagation import flush
from ops import ops
job = ops.send("cleaner", host="db-7")
outcome = job.result(timeout=60)
flush()
print(job.run_id, type(outcome).__name__)
"""


class Composed:
    """A compose project of its own on free ports; the profiles that are named start, too."""

    def __init__(self, *profiles: str, **environ: str) -> None:
        self._profiles = [part for profile in profiles for part in ("--profile", profile)]
        self._environ = environ
        self.project = f"handrail-test-{secrets.token_hex(4)}"
        self.ports = {name: free_port() for name in PORTS}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `docker compose` on compose.yaml."""
        return subprocess.run(
            [
                *("docker", "compose", "--project-name", self.project, "--file", str(COMPOSE)),
                *(*self._profiles, *arguments),
            ],
            env={**os.environ, **self._environ, **{name: str(port) for name, port in self.ports.items()}},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def address(self, name: str) -> str:
        """`host:port` of a published port."""
        return f"127.0.0.1:{self.ports[name]}"

    def environ(self) -> dict[str, str]:
        """What the head of compose.yaml tells a user to export."""
        return {
            "HANDRAIL_REDIS_URL": f"redis://{self.address('HANDRAIL_REDIS_PORT')}/0",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{self.address('HANDRAIL_OTLP_HTTP_PORT')}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
        }


@contextmanager
def brought_up(project: Composed, request: pytest.FixtureRequest) -> Iterator[Composed]:
    """compose.yaml, up; torn down with its volumes, and nothing of it is left."""
    if not shutil.which("docker") or project.run("version").returncode != 0:
        pytest.skip("docker compose, version 2, is not installed")
    try:
        up = project.run("up", "--detach", "--wait")
        assert up.returncode == 0, up.stderr
        if not answers(project.environ()["HANDRAIL_REDIS_URL"]) and not publishes_on_loopback():
            pytest.skip("compose.yaml publishes on loopback, and the Docker daemon is on another machine")
        yield project
    finally:
        request.node.add_report_section("call", "compose", project.run("logs", "--tail", "20").stdout)
        down = project.run("down", "--volumes", "--timeout", "5")
    assert down.returncode == 0, down.stderr
    assert docker_leftovers(project.project) == []


@pytest.fixture
def composed(request: pytest.FixtureRequest) -> Iterator[Composed]:
    """Redis and Jaeger."""
    with brought_up(Composed(), request) as project:
        yield project


@pytest.fixture
def collecting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Composed]:
    """Redis, Jaeger and the Collector, which reads the mirror in `tmp_path`."""
    mirror = tmp_path / "mirror"
    mirror.mkdir(mode=0o700)
    with brought_up(Composed("collector", HANDRAIL_MIRROR_DIR=str(mirror)), request) as project:
        yield project


@pytest.fixture
def whole(request: pytest.FixtureRequest) -> Iterator[Composed]:
    """Redis, Jaeger, RabbitMQ and the workers of the example."""
    with brought_up(Composed("rabbitmq", "agents"), request) as project:
        yield project


@pytest.mark.containers
def test_agents_and_rabbitmq_of_compose(whole: Composed, fleet: Callable[[Mapping[str, str]], Fleet]) -> None:
    """A run of the example's workers in containers is one tree; so is one of other agents over RabbitMQ."""
    environ = whole.environ()
    wait_for(
        partial(is_healthy, f"http://{whole.address('HANDRAIL_JAEGER_STATUS_PORT')}/status"), what="Jaeger"
    )
    source = JaegerSource(f"http://{whole.address('HANDRAIL_JAEGER_UI_PORT')}")
    try:
        sent = subprocess.run(
            [sys.executable, "-c", SEND_EXAMPLE],
            cwd=ROOT / "examples" / "disk_space",
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert sent.returncode == 0, sent.stderr
        run_id, outcome = sent.stdout.split()
        assert outcome == "Waiting"  # for somebody to approve of dropping a table
        forest = forest_of_run(source, run_id, starts=3)
        assert check(source, forest.roots[0].trace_id).unified

        broker = f"amqp://handrail:handrail@{whole.address('HANDRAIL_RABBITMQ_PORT')}//"
        agents = fleet(environ | {"CELERY_BROKER_URL": broker})
        agents.start(["planner", "scout", "scribe"])
        run = agents.send(wait=True)
        assert run["outcome"] == "Done", run["detail"]
        forest = forest_of_run(source, run["run_id"])
        assert {span.text(names.MESSAGING_SYSTEM) for span in forest.spans if span.kind == "consumer"} == {
            "rabbitmq"
        }
        assert check(source, run["trace_id"]).unified
    finally:
        source.close()


@pytest.mark.containers
def test_run_through_compose_is_one_tree(
    composed: Composed, fleet: Callable[[Mapping[str, str]], Fleet]
) -> None:
    """With the variables of its first lines, a run over compose's Redis is one tree in compose's Jaeger."""
    environ = composed.environ()
    assert answers(environ["HANDRAIL_REDIS_URL"])
    assert sorted(composed.run("ps", "--services").stdout.split()) == [
        "jaeger",
        "redis",
    ]  # without any profile
    status = f"http://{composed.address('HANDRAIL_JAEGER_STATUS_PORT')}/status"
    wait_for(lambda: is_healthy(status), what="Jaeger")
    agents = fleet(environ)
    agents.start(["planner", "scout", "scribe"])
    run = agents.send(wait=True)
    assert run["outcome"] == "Done", run["detail"]
    source = JaegerSource(f"http://{composed.address('HANDRAIL_JAEGER_UI_PORT')}")
    try:
        forest_of_run(source, run["run_id"])
        assert check(source, run["trace_id"]).unified
    finally:
        source.close()


@pytest.mark.containers
def test_a_collector_carries_a_spool_to_jaeger(
    collecting: Composed, fleet: Callable[[Mapping[str, str]], Fleet], tmp_path: Path
) -> None:
    """Spool, mirror, a real Collector, Jaeger: one tree, and no worker has sent anything over the network."""
    environ = collecting.environ() | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "HANDRAIL_SPOOL_DIR": str(tmp_path / "spool"),
        "HANDRAIL_FORWARD_TO": f"file://{tmp_path / 'mirror'}",
    }
    for port, path in (("HANDRAIL_JAEGER_STATUS_PORT", "/status"), ("HANDRAIL_COLLECTOR_STATUS_PORT", "/")):
        wait_for(partial(is_healthy, f"http://{collecting.address(port)}{path}"), what=port)
    agents = fleet(environ)
    agents.start(["planner", "scout", "scribe"])
    run = agents.send(wait=True)
    assert run["outcome"] == "Done", run["detail"]
    source = JaegerSource(f"http://{collecting.address('HANDRAIL_JAEGER_UI_PORT')}")
    try:
        forest = forest_of_run(source, run["run_id"])
        assert all(names.RECORD_ID in span.attributes for span in forest.spans)
        assert check(source, run["trace_id"]).unified
    finally:
        source.close()


def test_images_are_the_same_everywhere() -> None:
    """compose.yaml, the stack, the gate and the docs name the same images, each with a version."""
    composed = dict(re.findall(r"image: \$\{HANDRAIL_(\w+)_IMAGE:-(\S+)\}", COMPOSE.read_text()))
    assert composed.pop("AGENTS") == "handrail-agents"  # is built
    own = {"REDIS": REDIS_IMAGE, "JAEGER": JAEGER_IMAGE, "RABBITMQ": RABBITMQ_IMAGE}
    assert composed == own | {"COLLECTOR": COLLECTOR_IMAGE}
    compiled = (ROOT / ".ci" / "collector" / "go.mod").read_text()
    assert f"otlpjsonfilereceiver v{composed['COLLECTOR'].rpartition(':')[2]}" in compiled
    gate = dict(re.findall(r'(?m)^(\w+)_IMAGE_DEFAULT="(.+)"$', (ROOT / ".ci" / "images.sh").read_text()))
    assert gate == composed
    described = (ROOT / "docs" / "containers.md").read_text()
    assert all(f"`{image}`" in described for image in composed.values())
    assert all(re.search(r":\d+\.\d+", image) for image in composed.values())


def test_everything_listens_on_loopback_only() -> None:
    """No port of compose.yaml is published to the network: nothing here asks for a password here."""
    published = re.findall(r'(?m)^ +- "(.+:\d+)"$', COMPOSE.read_text())
    assert len(published) == len(PORTS)
    assert all(one.startswith("127.0.0.1:${") for one in published)
