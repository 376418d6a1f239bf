"""A destination on this machine's disk: OTLP/JSON, one batch a line, for an OpenTelemetry Collector to read.

The Collector's `otlpjsonfile` receiver follows files as `tail -F` does: it knows a file by its first 1,000 bytes and
splits what comes at ends of lines. So a file is only ever appended to in whole lines, is never renamed, truncated or
taken up again, and begins with something that no other file has.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import re
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from handrail_propagation.forward.outcome import Accepted, Later, Outcome, Refused
from handrail_propagation.forward.wire import Signal
from handrail_propagation.otlp.json import to_json_document
from handrail_propagation.spool.files import FILES, Files

_log = logging.getLogger(__name__)

MAX_BYTES: Final = 128 << 10
"""Of a batch in protobuf: as JSON it stays below the Collector's `max_log_size` of 1 MiB."""
FILE_SIZE: Final = 8 << 20
KEPT: Final = 256 << 20
"""Bytes of all files together; the oldest are deleted above that, whether a Collector has read them or not."""
_NAME: Final = re.compile(r"(traces|logs)-(\d{8,})\.jsonl")


class MirrorTransport:
    """Writes batches to `{traces,logs}-NUMBER.jsonl` in a folder (mode 0700, files 0600).

    A batch is acknowledged when it is on disk. What a Collector makes of it is not known here.
    """

    def __init__(
        self,
        folder: Path,
        signals: Sequence[Signal] = tuple(Signal),
        *,
        file_size: int = FILE_SIZE,
        kept: int = KEPT,
        files: Files = FILES,
    ) -> None:
        self.signals = frozenset(signals)
        self._folder = folder
        self._file_size = file_size
        self._kept = kept
        self._files = files
        self._open: dict[Signal, tuple[int, int]] = {}
        """Descriptor and size of the file that is appended to."""

    def send(self, signal: Signal, body: bytes) -> Outcome:
        """Append one batch as a line, and wait until it is on disk."""
        request: ExportTraceServiceRequest | ExportLogsServiceRequest
        request = ExportTraceServiceRequest() if signal is Signal.TRACES else ExportLogsServiceRequest()
        try:
            request.ParseFromString(body)
        except DecodeError as error:
            return Refused(f"not OTLP: {error}")
        try:
            self._append(signal, to_json_document(request))
        except OSError as error:
            self._leave(signal)  # it may end in half a line
            return Later(f"{self._folder}: {error.strerror}")
        return Accepted()

    def close(self) -> None:
        """Close the files; the next ones have new names."""
        for signal in list(self._open):
            self._leave(signal)

    def _append(self, signal: Signal, document: dict[str, object]) -> None:
        descriptor, size = self._open.get(signal) or self._new_file(signal)
        if not size:
            document = {"handrail.file": uuid.uuid4().hex, **document}
        line = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        if self._files.write(descriptor, line) != len(line):
            raise OSError(errno.ENOSPC, "only a part of a line could be written")
        self._files.sync(descriptor)
        if self._files.is_deleted(descriptor) or self._files.size(descriptor) != size + len(line):
            # Else it is acknowledged, and nobody can read it: a new file gets it, maybe once more
            raise OSError(errno.ENOENT, "somebody has deleted or cut the file that is written to")
        self._open[signal] = descriptor, size + len(line)
        if size + len(line) >= self._file_size:
            self._leave(signal)

    def _new_file(self, signal: Signal) -> tuple[int, int]:
        self._files.make_folder(self._folder)
        found = sorted(self._folder.iterdir(), key=lambda path: path.name)
        ours = [(match, path) for path in found if (match := _NAME.fullmatch(path.name))]
        number = max((int(match[2]) for match, _ in ours), default=0) + 1
        self._make_room([path for _, path in ours])
        descriptor = self._files.create(self._folder / f"{signal.name.lower()}-{number:08d}.jsonl")
        self._files.sync_folder(self._folder)
        self._open[signal] = descriptor, 0
        return descriptor, 0

    def _make_room(self, paths: list[Path]) -> None:
        """Delete the oldest files: they count up together, so that the lowest number is the oldest."""
        paths.sort(key=lambda path: path.stem.rpartition("-")[2])
        sizes = {path: path.stat().st_size for path in paths}
        while paths and sum(sizes[path] for path in paths) > self._kept - self._file_size:
            oldest = paths.pop(0)
            _log.warning("%s: deleted, the mirror is above %d bytes", oldest, self._kept)
            self._files.unlink(oldest)

    def _leave(self, signal: Signal) -> None:
        opened = self._open.pop(signal, None)
        if opened is not None:
            with contextlib.suppress(OSError):
                self._files.close(opened[0])
