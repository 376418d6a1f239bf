"""What people get wrong: one clear line that says what to do, an exit status, no traceback, nothing lost."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Cli

pytestmark = pytest.mark.integration
Project = Callable[..., Path]
NOWHERE = "redis://127.0.0.1:1/0"


def test_unknown_agent(cli: Cli, project: Project) -> None:
    """A misspelt agent is named, with the one that was meant."""
    ended = cli("run", project("office", "clark", name="Ada"))
    assert ended.status == 2
    assert "there is no agent 'clark'; did you mean clerk?" in ended.complaint


def test_missing_and_wrong_arguments(cli: Cli, project: Project) -> None:
    """A missing, an unknown and an ill-typed argument are named before any worker starts."""
    for arguments, said in (
        ({}, "name: Field required"),
        ({"name": "Ada", "age": 5}, "age: Extra inputs are not permitted"),
        ({"name": 5}, "name: Input should be a valid string"),
    ):
        ended = cli("run", project("office", "clerk", **arguments))
        assert ended.status == 2
        assert said in ended.complaint
        assert "worker processes" not in ended.stderr


@pytest.mark.parametrize("command", ["demo", "up"])
def test_unreachable_redis(cli: Cli, command: str) -> None:
    """A Redis that is named and does not answer is said, not replaced by another one."""
    ended = cli(command, env={"HANDRAIL_REDIS_URL": NOWHERE})
    assert ended.status == 2
    assert "127.0.0.1:1" in ended.complaint
    assert "HANDRAIL_REDIS_URL" in ended.complaint


def test_unreachable_broker(cli: Cli, project: Project) -> None:
    """Workers are not started for a broker that does not answer."""
    ended = cli("worker", "ops:ops", cwd=project("office", "clerk").parent)
    assert ended.status == 2
    assert "127.0.0.1:1/0 does not answer" in ended.complaint
    assert "handrail up" in ended.complaint


def test_port_taken(cli: Cli) -> None:
    """A port that somebody else listens on is named, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = cli("serve", "--port", str(port))
        assert ended.status == 2
        assert str(port) in ended.complaint
        assert "--port" in ended.complaint


def test_trace_that_does_not_exist(cli: Cli, project: Project) -> None:
    """In an empty store, and in one that has others: said, and what is there stays."""
    assert cli("investigate", "00000000000000000000000000000001").status == 2
    assert cli("run", project("office", "clerk", name="Ada"), env={"OFFICE_PREFIX": "bad-input-"}).status == 0
    for command in ("investigate", "check"):
        ended = cli(command, "00000000000000000000000000000001")
        assert ended.status == 2
        assert "00000000000000000000000000000001" in ended.complaint
    assert len(cli("traces", "--json").document) == 1


@pytest.mark.parametrize(
    "content", [b"", b"not json\n", b"[1, 2]\n", b"\x89PNG\r\n\x1a\n\x00\xff" * 20, b'{"a": 1}\n']
)
def test_file_that_is_not_otlp(cli: Cli, tmp_path: Path, content: bytes) -> None:
    """Whatever the file holds, it is said that it is no OTLP file, and which file."""
    path = tmp_path / "spans.jsonl"
    path.write_bytes(content)
    ended = cli("check", f"file:{path}")
    assert ended.status == 2
    assert "spans.jsonl" in ended.complaint


def test_file_and_source_that_do_not_exist(cli: Cli, tmp_path: Path) -> None:
    """A missing file and an unknown kind of source are said as such."""
    assert "nothing.jsonl" in cli("check", f"file:{tmp_path}/nothing.jsonl").complaint
    assert "use store, file:PATH or jaeger:URL" in cli("check", "tempo:http://x", "0" * 31 + "1").complaint


class _Answers500(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(500)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the test's output is not this server's."""


@pytest.fixture
def broken_jaeger() -> Iterator[str]:
    """A server in Jaeger's place that answers 500 to everything."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers500) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_jaeger_that_fails_or_is_not_there(cli: Cli, broken_jaeger: str) -> None:
    """A Jaeger that answers 500 and one that does not answer at all, for both commands."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    for command in ("check", "investigate"):
        ended = cli(command, f"jaeger:{broken_jaeger}", trace)
        assert ended.status == 2
        assert "500" in ended.complaint
    ended = cli("check", "jaeger:http://127.0.0.1:1", trace)
    assert ended.status == 2
    assert "127.0.0.1:1" in ended.complaint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("agents: [", "is not YAML"),
        ("just words", "is no mapping"),
        ("agents: ops:ops", "agent: Field required"),
        ("agents: ops:ops\nagent: clerk\nagruments: {}", "agruments: Extra inputs are not permitted"),
        ("agents: nothere:ops\nagent: clerk", "there is no module 'nothere'"),
        ("agents: ops:app\nagent: clerk", "ops:app is a Celery, not an Agents"),
        ("agents: ops:opps\nagent: clerk", "did you mean ops:ops?"),
        ("agents: '../ops'\nagent: clerk", "is no module name"),
    ],
)
def test_task_file_with_a_mistake(cli: Cli, project: Project, text: str, said: str) -> None:
    """Each mistake in a task file is told with what was expected."""
    path = project("office", "clerk")
    path.write_text(text)
    ended = cli("run", path)
    assert ended.status == 2
    assert said in ended.complaint


def test_module_that_fails_on_import(cli: Cli, project: Project) -> None:
    """The user's own mistake is one line; --debug shows where."""
    path = project("office", "clerk", name="Ada")
    (path.parent / "ops.py").write_text("1 / 0\n")
    assert "failed while it was imported, with ZeroDivisionError" in cli("run", path).complaint
    ended = cli("run", path, "--debug")
    assert "Traceback" in ended.stderr
    assert ended.status != 0
