"""`handrail up`: the embedded stack in the foreground; with `--env`, how to use it from elsewhere."""

from __future__ import annotations

import shlex
import signal
import threading
from typing import Annotated

import typer

from handrail_agents.redis_client import without_password
from handrail_harness.cli import arguments
from handrail_harness.cli.output import print_json, stderr, stdout
from handrail_harness.receiver.settings import HTTP_PORT
from handrail_harness.stack.embedded import EmbeddedStack
from handrail_harness.store.location import default_data_dir

_PARTS = ("redis", "receiver")


def up(
    port: arguments.HTTPPort = HTTP_PORT,
    grpc_port: arguments.GRPCPort = None,
    data_dir: arguments.DataFolder = None,
    env: Annotated[
        bool,
        typer.Option(
            "--env", help='Print the exports of the stack that is up, for eval "$(…)"; start nothing.'
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the stack as JSON.")] = False,
) -> None:
    """Start what agents need (Redis, receiver, store), or say what is already there."""
    folder = data_dir or default_data_dir()
    if env:
        stack = EmbeddedStack.find(folder)
        _print(stack, json=json, env=True)
        return
    stopping = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with EmbeddedStack(folder, ports=(port, arguments.grpc_port(grpc_port, port)), publish=True) as stack:
            _print(stack, json=json, env=False)
            if not stack.started:
                return
            while not stopping.wait(1.0):
                stack.check()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print(stack: EmbeddedStack, *, json: bool, env: bool) -> None:
    if json:
        print_json(
            {
                "redis_url": stack.redis_url,
                "otlp_http": stack.otlp_endpoint,
                "otlp_grpc": stack.grpc_endpoint,
                "data_dir": str(stack.data_dir),
                "started": stack.started,
                "environment": stack.environ(),
            }
        )
        return
    if not env:
        addresses = (without_password(stack.redis_url), f"{stack.otlp_endpoint}, gRPC {stack.grpc_endpoint}")
        for part, address in zip(_PARTS, addresses, strict=True):
            stderr.print(f"{part:9} {address}  ({'started' if part in stack.started else 'found'})")
        stderr.print(f"store     {stack.data_dir}")
        stderr.print('To use it from another terminal:  eval "$(handrail up --env)"   which is')
    for name, value in stack.environ().items():
        stdout.print(f"export {name}={shlex.quote(value)}", markup=False)
    if not env:
        stderr.print("Ctrl-C stops it." if stack.started else "Everything was there already; nothing to do.")
