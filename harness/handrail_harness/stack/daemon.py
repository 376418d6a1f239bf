"""The Docker daemon that containers run on: whether one answers, and where it publishes ports."""

from __future__ import annotations

import os
import socket

from handrail_harness.errors import StackError
from handrail_harness.printable import printable

_PATIENCE = 20  # seconds: a daemon on a busy machine is not one that is missing


def publishes_on_loopback() -> bool:
    """Return whether ports that the daemon publishes are on this machine's loopback interface.

    They are not where the daemon is remote, or a neighbour of the container that this process runs in.
    """
    from testcontainers.core.config import ConnectionMode
    from testcontainers.core.docker_client import DockerClient

    client = DockerClient()
    try:
        return client.get_connection_mode() == ConnectionMode.docker_host and client.host() in (
            "localhost",
            "127.0.0.1",
        )
    finally:
        client.client.close()


def require_docker() -> None:
    """Raise `StackError`, in one line, where containers cannot be used."""
    problem = docker_problem()
    if problem:
        raise StackError(problem)


def docker_problem() -> str | None:
    """Return why containers cannot be used here, in one line; `None` when a Docker daemon answers.

    The daemon is the one that testcontainers uses: DOCKER_HOST, else the one of Docker's current context.
    """
    try:
        import docker
        from docker.errors import DockerException
        from testcontainers.core.docker_client import get_docker_host
    except ModuleNotFoundError as error:
        return f"the Python package {error.name} is missing; install handrail[harness]"
    address = get_docker_host() or "unix:///var/run/docker.sock"
    advice = "start Docker, or set DOCKER_HOST"
    if address.startswith("unix://"):
        # Asked first by hand: docker-py leaves its socket open when nobody listens (a ResourceWarning).
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(address.removeprefix("unix://"))
            except OSError as error:
                reason = error.strerror or str(error) or type(error).__name__
                return f"no Docker daemon answers at {address} ({reason}); {advice}"
    try:
        client = docker.from_env(
            timeout=_PATIENCE,
            environment={**os.environ, "DOCKER_HOST": address},
            use_ssh_client=address.startswith("ssh://"),
        )
        try:
            client.ping()
        finally:
            client.close()
    except (DockerException, OSError, ValueError) as error:
        return f"no Docker daemon answers at {printable(address, 120)} ({type(error).__name__}); {advice}"
    return None
