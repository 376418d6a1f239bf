"""A local HTTP server that speaks both model APIs well enough for the official SDKs, and badly when told to."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal

Mode = Literal[
    "answer",
    "tool",
    "not-json",
    "html",
    "wrong-shape",
    "wrong-types",
    "empty",
    "broken-arguments",
    "surrogates",
    "silent",
]
SECRET = "prompt text and sk-secret-key inside"
"""Stands in every answer that is no answer: no message may repeat it."""
ARGUMENTS = {"host": "db-7"}


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
                    self._send(stub.status, json.dumps({"error": {"message": SECRET}}).encode())
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
            return f"{SECRET} {{".encode()
        if self.mode == "html":
            return f"<html>{SECRET}</html>".encode()
        if self.mode == "wrong-shape":
            return json.dumps({"weather": SECRET}).encode()
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


def _anthropic(mode: Mode) -> dict[str, Any]:
    text = "Let me look.\ud800" if mode == "surrogates" else "Let me look."
    content: list[dict[str, Any]] = [{"type": "text", "text": text}]
    if mode in ("tool", "broken-arguments", "surrogates"):
        call: dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": "sizes", "input": ARGUMENTS}
        if mode == "broken-arguments":
            call["input"] = '{"host": '
        elif mode == "surrogates":
            call |= {"id": "toolu_\ud800", "input": {"host": "\ud800"}}
        content.append(call)
    answer: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-test-1",
        "content": [] if mode == "empty" else content,
        "stop_reason": "tool_use" if mode == "tool" else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": 5, "cache_read_input_tokens": 3},
    }
    if mode == "wrong-types":
        answer |= {"id": 7, "model": ["x"], "stop_reason": {}, "usage": {"input_tokens": "many"}}
    elif mode == "surrogates":
        answer |= {"id": "msg_\ud800", "model": "claude-\ud800"}
    return answer


def _openai(mode: Mode) -> dict[str, Any]:
    text = "Let me look.\ud800" if mode == "surrogates" else "Let me look."
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if mode in ("tool", "broken-arguments", "surrogates"):
        arguments = '{"host": ' if mode == "broken-arguments" else json.dumps(ARGUMENTS)
        call = {"id": "call_1", "type": "function", "function": {"name": "sizes", "arguments": arguments}}
        if mode == "surrogates":
            call |= {"id": "call_\ud800", "function": {"name": "sizes", "arguments": '{"host": "\ud800"}'}}
        message["tool_calls"] = [call]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if mode == "tool" else "stop"}
    answer: dict[str, Any] = {
        "id": "chatcmpl_1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-test-1",
        "choices": [] if mode == "empty" else [choice],
        "usage": {"prompt_tokens": 15, "completion_tokens": 5, "total_tokens": 20},
    }
    if mode == "wrong-types":
        answer |= {"id": 7, "model": ["x"], "usage": {"prompt_tokens": "many", "completion_tokens": True}}
        choice["finish_reason"] = {}
    elif mode == "surrogates":
        answer |= {"id": "chatcmpl_\ud800", "model": "gpt-\ud800"}
    return answer
