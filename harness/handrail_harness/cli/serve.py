"""`handrail serve`: take in OTLP over HTTP and gRPC, keep it durably, answer queries."""

from __future__ import annotations

from typing import Annotated

import typer

from handrail_harness.cli import arguments
from handrail_harness.cli.output import print_error, print_json, stderr
from handrail_harness.receiver.settings import HTTP_PORT
from handrail_harness.store.location import ServerState


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback are open to all.")] = (
        "127.0.0.1"
    ),
    port: arguments.HTTPPort = HTTP_PORT,
    grpc_port: arguments.GRPCPort = None,
    data_dir: arguments.DataFolder = None,
    max_body: Annotated[int, typer.Option(min=1, help="Largest export in bytes, unpacked.")] = 20 << 20,
    json: Annotated[bool, typer.Option("--json", help="Print where it listens as JSON.")] = False,
) -> None:
    """Receive OpenTelemetry traces and logs, and keep them where `handrail investigate` finds them."""
    from handrail_harness.receiver.server import Receiver, run_until_signalled
    from handrail_harness.receiver.settings import Settings
    from handrail_harness.store.location import default_data_dir

    settings = Settings(
        host=host,
        port=port,
        grpc_port=arguments.grpc_port(grpc_port, port),
        data_dir=data_dir or default_data_dir(),
        max_body_bytes=max_body,
    )

    def announce(state: ServerState) -> None:
        if json:
            print_json(
                {
                    "pid": state.pid,
                    "otlp_http": state.http_url,
                    "otlp_grpc": state.grpc_endpoint,
                    "data_dir": str(settings.data_dir),
                }
            )
        if host not in ("127.0.0.1", "::1", "localhost"):
            print_error(f"listening on {host}: whoever reaches this machine can add spans")
        stderr.print(f"OTLP over HTTP  {state.http_url}")
        stderr.print(f"OTLP over gRPC  {state.grpc_endpoint}")
        stderr.print(f"store           {settings.data_dir}")
        stderr.print("Ctrl-C stops it.")

    run_until_signalled(Receiver(settings, print_error), announce)
