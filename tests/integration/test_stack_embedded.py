"""The embedded stack: whole or not at all, found where it is up already, and gone without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from handrail_harness.errors import StackError
from handrail_harness.stack import EmbeddedStack
from handrail_harness.stack import redis as stack_redis
from handrail_harness.stack.embedded import without_proxy
from handrail_harness.stack.server import free_port
from handrail_propagation.config import Config

from ..support.waiting import wait_for

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HANDRAIL_REDIS_URL", raising=False)


def test_environ_is_all_that_a_process_needs(tmp_path: Path) -> None:
    """A process with the stack's variables reaches its Redis; its spans come back out of `source()`."""
    code = (
        "import os, redis\n"
        "from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.export import BatchSpanProcessor\n"
        "client = redis.Redis.from_url(os.environ['HANDRAIL_REDIS_URL'])\n"
        "assert client.ping()\nclient.close()\n"
        "provider = TracerProvider()\nprovider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))\n"
        "with provider.get_tracer('t').start_as_current_span('elsewhere') as span:\n"
        "    print(f'{span.get_span_context().trace_id:032x}')\nprovider.shutdown()"
    )
    with EmbeddedStack() as stack:
        assert sorted(stack.started) == ["receiver", "redis"]
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **stack.environ()},
            check=True,
            capture_output=True,
            text=True,
        )
        source = stack.source()
        assert [span.name for span in source.spans(done.stdout.strip())] == ["elsewhere"]
        source.close()
        data_dir = stack.data_dir
        pids = [stack.receiver_pid]
    assert not data_dir.exists()
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_nothing_stays_after_a_killed_owner() -> None:
    """SIGKILL of the owner ends Redis and receiver, and takes the temporary folders along."""
    code = (
        "import time\nfrom handrail_harness.stack import EmbeddedStack\n"
        "stack = EmbeddedStack().start()\n"
        "print(stack.receiver_pid, stack._redis.pid, stack.data_dir, stack._redis._folder, flush=True)\n"
        "time.sleep(120)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HANDRAIL_REDIS_URL"}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as owner:
        assert owner.stdout is not None
        receiver, redis, *folders = owner.stdout.readline().split()
        assert psutil.pid_exists(int(receiver))
        assert all(Path(folder).is_dir() for folder in folders)
        owner.send_signal(signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(int(receiver)) and not psutil.pid_exists(int(redis)))
    wait_for(lambda: not any(Path(folder).exists() for folder in folders))


def test_a_second_stack_finds_the_first(tmp_path: Path) -> None:
    """On one data directory a second stack uses the published parts of the first, and leaves them running."""
    with EmbeddedStack(tmp_path, publish=True) as first:
        with EmbeddedStack(tmp_path) as second:
            assert second.started == []
            assert (second.redis_url, second.otlp_endpoint) == (first.redis_url, first.otlp_endpoint)
        assert stack_redis.answers(first.redis_url)
        found = EmbeddedStack.find(tmp_path)
        assert found.environ() == first.environ()
        assert (
            Config.from_environment({"HANDRAIL_SPOOL_DIR": "/their/spool"} | found.environ()).spool_dir == ""
        )
        first.check()
    with pytest.raises(StackError, match="handrail up"):
        EmbeddedStack.find(tmp_path)
    assert not (tmp_path / "stack.json").exists()


def test_configured_redis_is_not_started_again(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With HANDRAIL_REDIS_URL only the receiver is started, and the given Redis outlives the stack."""
    monkeypatch.setenv("HANDRAIL_REDIS_URL", redis_url)
    with EmbeddedStack() as stack:
        assert stack.started == ["receiver"]
        assert stack.redis_url == redis_url
    assert stack_redis.answers(redis_url)


def test_failing_part_leaves_nothing_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """When Redis cannot be had, the receiver that was started already is stopped again."""
    monkeypatch.setenv("HANDRAIL_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    stack = EmbeddedStack()
    with pytest.raises(StackError, match="HANDRAIL_REDIS_URL"):
        stack.start()
    wait_for(lambda: {child.pid for child in psutil.Process().children(recursive=True)} <= before)


def test_taken_port_is_the_receivers_own_line(tmp_path: Path) -> None:
    """A receiver that cannot listen fails the stack with its reason."""
    with EmbeddedStack() as other:
        port = int(other.otlp_endpoint.rpartition(":")[2])
        with pytest.raises(StackError, match=f"port {port}.*--port"):
            EmbeddedStack(tmp_path, ports=(port, 0)).start()


def test_a_part_that_dies_is_noticed() -> None:
    """`check` says which part has ended."""
    with EmbeddedStack() as stack:
        stack.check()
        os.kill(stack.receiver_pid, signal.SIGKILL)
        receiver = stack._receiver
        assert receiver is not None
        assert receiver.wait(60)
        with pytest.raises(StackError, match="receiver"):
            stack.check()


def test_a_proxy_is_not_used_for_the_stack() -> None:
    """Where an HTTP proxy is configured, exports to this machine go past it; else nothing is added."""
    assert without_proxy({"PATH": "/bin"}) == {}
    added = without_proxy(
        {"https_proxy": "http://p:1", "HTTP_PROXY": "http://p:1", "NO_PROXY": "example.org"}
    )
    assert added == {
        "NO_PROXY": "example.org,127.0.0.1,localhost",
        "no_proxy": "example.org,127.0.0.1,localhost",
    }


def test_stack_of_the_session_takes_spans(stack: EmbeddedStack) -> None:
    """The session's stack serves the tests of this folder."""
    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=f"{stack.otlp_endpoint}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("tests").start_as_current_span("shared") as span:
        trace_id = f"{span.get_span_context().trace_id:032x}"
    provider.shutdown()
    source = stack.source()
    assert [found.name for found in source.spans(trace_id)] == ["shared"]
    source.close()
