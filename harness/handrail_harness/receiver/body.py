"""Request bodies of bounded size: read with a limit, unpacked with the same limit."""

from __future__ import annotations

import zlib

from starlette.requests import Request

_GZIP = 16 + zlib.MAX_WBITS


class BodyTooLarge(Exception):
    """The body, or what it unpacks to, is larger than the receiver takes."""


class BodyUnusable(Exception):
    """The body is not in the encoding that its header names."""


async def read(request: Request, limit: int) -> bytes:
    """Return the body as it came; raises `BodyTooLarge` as soon as it is known to exceed `limit` bytes."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise BodyTooLarge
    return bytes(body)


def gunzip(packed: bytes, limit: int) -> bytes:
    """Unpack gzip (of several members, too); raises `BodyTooLarge` beyond `limit` bytes, `BodyUnusable`."""
    unpacked = bytearray()
    while packed:
        member = zlib.decompressobj(_GZIP)
        try:
            unpacked += member.decompress(packed, limit - len(unpacked) + 1)
        except zlib.error as error:
            raise BodyUnusable(f"not gzip: {error}") from error
        if len(unpacked) > limit:
            raise BodyTooLarge
        if not member.eof:
            raise BodyUnusable("gzip ends too early")
        packed = member.unused_data
    return bytes(unpacked)
