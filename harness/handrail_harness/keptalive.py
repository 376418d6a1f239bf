"""Requests over connections that are kept open: one that the server closes in that instant is no failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx


def request(client: httpx.Client, method: str, path: str, **content: Any) -> httpx.Response:
    """Send a request, and send it again where the server closed an idle connection just then.

    For requests that may arrive twice only. Raises `httpx.HTTPError`.
    """
    import httpx

    try:
        return client.request(method, path, **content)
    except httpx.RemoteProtocolError:
        return client.request(method, path, **content)
