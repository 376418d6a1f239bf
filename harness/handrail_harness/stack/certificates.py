"""Where the files of a TLS server's certificate are; makes none and reads none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """PEM files: the `authority` that clients trust, the server's `certificate` and its private `key`."""

    authority: Path
    certificate: Path
    key: Path
