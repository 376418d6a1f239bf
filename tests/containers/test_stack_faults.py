"""What goes wrong with containers is said at once, in a line that names the thing and the next step."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from handrail_harness.errors import StackError
from handrail_harness.stack.collector_container import CollectorContainer
from handrail_harness.stack.containers import ContainerStack
from handrail_harness.stack.daemon import docker_problem
from handrail_harness.stack.health import is_healthy
from handrail_harness.stack.redis_container import RedisContainer
from handrail_harness.stack.server import free_port

from .support import handrail, our_containers

COLLECTOR = """
receivers:
  otlp_json_file:
    include: [/mirror/*.jsonl]
exporters:
  otlp_http:
    endpoint: http://127.0.0.1:1
extensions:
  health_check:
    endpoint: 0.0.0.0:13133
service:
  extensions: [health_check]
  pipelines:
    traces:
      receivers: [otlp_json_file]
      exporters: [otlp_http]
"""
TRACE = "0af7651916cd43dd8448eb211c80319c"
needs_docker = pytest.mark.containers


@needs_docker
def test_dead_container_is_reported_with_its_last_words() -> None:
    """A container that ends instead of getting ready is an error with its exit status and log, and is removed."""
    before = our_containers()
    dead = RedisContainer(command="redis-server --port not-a-number")
    with pytest.raises(StackError, match=r"ended with exit status 1") as caught:
        dead.start()
    assert dead.image in str(caught.value)
    assert "not-a-number" in str(caught.value)
    assert our_containers() == before


@needs_docker
def test_container_that_dies_later_is_reported() -> None:
    """Once a running container has died, asking for its address says so, with its last words."""
    with RedisContainer() as one:
        one.kill()
        with pytest.raises(StackError, match="ended with exit status 137") as caught:
            _ = one.url
        assert "Ready to accept connections" in str(caught.value)


@needs_docker
def test_collector_starts_or_says_what_it_does_not_take(tmp_path: Path) -> None:
    """A Collector gets healthy; with a configuration that it does not take, its own words are the error."""
    before = our_containers()
    config = tmp_path / "collector.yaml"
    config.write_text(COLLECTOR)
    with CollectorContainer(config, mounts={"/mirror": tmp_path}) as collector:
        assert is_healthy(f"http://{collector.address(13133)}/")
    broken = tmp_path / "broken.yaml"
    broken.write_text(COLLECTOR.replace("otlp_json_file", "no_such_thing"))
    with pytest.raises(StackError, match="no_such_thing"), CollectorContainer(broken):
        pass
    assert our_containers() == before


@needs_docker
def test_missing_image_is_one_line() -> None:
    """An image that neither is here nor can be pulled is named in one line, and no container is left."""
    image = f"127.0.0.1:{free_port()}/no-such-image:1"
    before = our_containers()
    with pytest.raises(StackError, match="pull") as caught, ContainerStack(jaeger_image=image):
        pass
    assert image in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert our_containers() == before


def test_missing_daemon_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where no daemon answers, the line has the address and what to do; nothing hangs."""
    address = f"unix://{tmp_path}/docker.sock"
    monkeypatch.setenv("DOCKER_HOST", address)
    with pytest.raises(StackError, match="start Docker") as caught, ContainerStack():
        pass
    assert address in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "ssh//nonsense", "npipe:////./pipe/none"])
def test_useless_docker_host_is_one_line(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """A DOCKER_HOST that leads nowhere, or is no address at all, is one line, too."""
    monkeypatch.setenv("DOCKER_HOST", address)
    problem = docker_problem()
    assert problem is not None
    assert "set DOCKER_HOST" in problem
    assert address in problem
    assert len(problem.splitlines()) == 1


@pytest.mark.parametrize(("required", "status", "word"), [("", 0, "1 skipped"), ("1", 1, "1 error")])
def test_skipped_container_test_fails_where_required(
    required: str, status: int, word: str, tmp_path: Path
) -> None:
    """Without Docker a container test is skipped with the reason; with HANDRAIL_REQUIRE_CONTAINERS it fails."""
    test = f"{Path(__file__)}::test_dead_container_is_reported_with_its_last_words"
    environ = {
        **os.environ,
        "DOCKER_HOST": f"unix://{tmp_path}/docker.sock",
        "HANDRAIL_REQUIRE_CONTAINERS": required,
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "0", test],
        env=environ,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == status, done.stdout
    assert word in done.stdout.splitlines()[-1]
    assert "no Docker daemon answers" in done.stdout


ANSWERS = {
    "error": (500, "text/plain", b"database is gone"),
    "page": (200, "text/html", b"<html>Sign in</html>"),
    "other": (200, "application/json", b'{"status": "Server available"}'),
    "odd": (200, "application/json", b'{"result": {"resourceSpans": 7}}'),
    "empty": (200, "application/json", b""),
}


class _Stub(BaseHTTPRequestHandler):
    """Answers every request as its path begins: /error/..., /page/..."""

    def do_GET(self) -> None:
        status, kind, body = ANSWERS[self.path.split("/")[1]]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def not_jaeger() -> Iterator[str]:
    """A local web server that is no Jaeger."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Stub) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("answer", [*ANSWERS, "nobody"])
def test_jaeger_that_is_none_is_one_line(not_jaeger: str, answer: str) -> None:
    """A Jaeger that fails, is something else, or is not there: one line with its address, exit status 2."""
    url = f"{not_jaeger}/{answer}" if answer in ANSWERS else f"http://127.0.0.1:{free_port()}"
    done = handrail("check", f"jaeger:{url}", TRACE)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert url in done.stderr


@needs_docker
def test_trace_that_jaeger_does_not_have_is_one_line(stack: ContainerStack) -> None:
    """A trace id that Jaeger has never seen is one line that names it, exit status 2."""
    done = handrail("check", f"jaeger:{stack.jaeger_url}", TRACE)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert TRACE in done.stderr
