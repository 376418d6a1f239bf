"""What `handrail serve` can be told, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from handrail_harness.store.location import default_data_dir

HTTP_PORT = 4318
GRPC_PORT = 4317


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to listen and where to keep what arrives. Ports: 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = HTTP_PORT
    grpc_port: int = GRPC_PORT
    data_dir: Path = field(default_factory=default_data_dir)
    max_body_bytes: int = 20 << 20
    """Largest export, in bytes, both as it arrives and unpacked; larger ones are answered 413."""
    max_exports: int = 64
    """Exports being taken in at the same time; further ones are answered 503 and come back later."""
    durable_timeout: float = 20.0
    """Seconds that an export waits for the disk before it is answered 503."""
    body_timeout: float = 30.0
    """Seconds that a client may take to send one export."""
    query_timeout: float = 20.0
    """Seconds that a query waits for the index to catch up with what was acknowledged before."""
