"""Who a writer is: enough for a reader to tell whether that process still lives, and where it ran."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from handrail_propagation import conventions as names


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, as it describes itself in its writer records; empty where the system does not tell."""

    pid: int = 0
    start_time: str = ""
    """In the system's own unit (Linux: clock ticks since boot): only good for comparison."""
    boot_id: str = ""
    pid_namespace: str = ""
    host: str = ""
    parent_pid: int = 0
    """Of a pool child: the worker's main process, which will know how it ended."""

    @classmethod
    def here(cls) -> Identity:
        """Describe this process."""
        return cls(
            pid=os.getpid(),
            start_time=start_time(os.getpid()),
            boot_id=boot_id(),
            pid_namespace=pid_namespace(),
            host=socket.gethostname(),
            parent_pid=os.getppid(),
        )

    @classmethod
    def parse(cls, payload: bytes) -> Identity:
        """Return what a writer record says. Raises `ValueError` for bytes that are no OTLP `Resource`."""
        from google.protobuf.message import DecodeError

        try:
            resource = Resource.FromString(payload)
        except DecodeError as error:
            raise ValueError(f"not an OTLP Resource: {error}") from None
        found = {entry.key: entry.value for entry in resource.attributes}

        def text(name: str) -> str:
            return found[name].string_value if name in found else ""

        def number(name: str) -> int:
            return found[name].int_value if name in found else 0

        return cls(
            pid=number(names.PROCESS_PID),
            start_time=text(names.SPOOL_PROCESS_START),
            boot_id=text(names.SPOOL_BOOT_ID),
            pid_namespace=text(names.SPOOL_PID_NAMESPACE),
            host=text(names.HOST_NAME),
            parent_pid=number(names.PROCESS_PARENT_PID),
        )

    def encode(self) -> bytes:
        """Return the payload of a writer record."""
        texts = {
            names.SPOOL_PROCESS_START: self.start_time,
            names.SPOOL_BOOT_ID: self.boot_id,
            names.SPOOL_PID_NAMESPACE: self.pid_namespace,
            names.HOST_NAME: self.host,
        }
        numbers = {names.PROCESS_PID: self.pid, names.PROCESS_PARENT_PID: self.parent_pid}
        attributes = [KeyValue(key=key, value=AnyValue(int_value=value)) for key, value in numbers.items()]
        attributes += [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in texts.items()]
        return Resource(attributes=attributes).SerializeToString()


def start_time(pid: int) -> str:
    """Return when a process of this pid namespace started; empty when it is gone or cannot be asked."""
    # proc(5): field 22; the second field is in parentheses and may hold anything
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def boot_id() -> str:
    """Return what tells this boot of the machine from others; empty where the system does not say."""
    return _read("/proc/sys/kernel/random/boot_id")


def pid_namespace() -> str:
    """Return the pid namespace of this process: pids mean nothing outside of it."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
