"""A local HTTP server that speaks both model APIs well enough for the official SDKs, and badly when told to."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal

Mode = Literal["answer", "tool", "not-json", "html", "wrong-shape", "empty", "broken-arguments", "silent"]


class ModelStub:
    """`with ModelStub() as stub:` serves on `stub.url`; `stub.mode` or `stub.status` say how it behaves.

    `stub.requests` holds (path, headers, body) of every request; `fail_first` answers that many with `status`.
    """

    def __init__(self) -> None:
        self.mode: Mode = "answer"
        self.status = 200
        self.fail_first = 0
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.released = threading.Event()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.requests.append((self.path, dict(self.headers.items()), body))
                failing = stub.status != 200 and (
                    not stub.fail_first or len(stub.requests) <= stub.fail_first
                )
                if failing:
                    self._send(stub.status, b'{"error": {"message": "prompt text and sk-secret-key inside"}}')
                elif stub.mode == "silent":
                    stub.released.wait(30)
                else:
                    self._send(200, stub.body(self.path), html=stub.mode == "html")

            def _send(self, status: int, body: bytes, *, html: bool = False) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if html else "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: the test's output is not this server's."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def body(self, path: str) -> bytes:
        """Return the answer of the current mode in the form of the API behind `path`."""
        if self.mode == "not-json":
            return b"this is not JSON {"
        if self.mode == "html":
            return b"<html>A proxy's sign-in page</html>"
        if self.mode == "wrong-shape":
            return b'{"weather": "fine"}'
        answer = _anthropic(self.mode) if path.endswith("/messages") else _openai(self.mode)
        return json.dumps(answer).encode()

    def __enter__(self) -> ModelStub:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


ARGUMENTS = {"host": "db-7"}


def _anthropic(mode: Mode) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": "Let me look."}]
    if mode in ("tool", "broken-arguments"):
        content.append({"type": "tool_use", "id": "toolu_1", "name": "sizes", "input": ARGUMENTS})
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-test-1",
        "content": [] if mode == "empty" else content,
        "stop_reason": "tool_use" if mode == "tool" else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": 5, "cache_read_input_tokens": 3},
    }


def _openai(mode: Mode) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "Let me look."}
    if mode in ("tool", "broken-arguments"):
        text = '{"host": ' if mode == "broken-arguments" else json.dumps(ARGUMENTS)
        function = {"name": "sizes", "arguments": text}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if mode == "tool" else "stop"}
    return {
        "id": "chatcmpl_1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-test-1",
        "choices": [] if mode == "empty" else [choice],
        "usage": {"prompt_tokens": 15, "completion_tokens": 5, "total_tokens": 20},
    }
