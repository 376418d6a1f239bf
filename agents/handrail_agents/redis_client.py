"""A client for the Redis that a URL names: one server, over TLS, a cluster, or whatever a Sentinel says is the master.

Takes the URLs of redis-py and of Celery, whose spellings differ, and Celery's broker settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, parse_qsl, unquote, urlencode, urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

_CLUSTER: Final = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
_SINGLE: Final = ("redis", "rediss", "unix")
_SENTINEL: Final = "sentinel"
SCHEMES: Final = (*_SINGLE, *_CLUSTER, _SENTINEL)
# A cluster's own error is none of redis-py's RedisError
ERRORS: Final = (redis.RedisError, redis.RedisClusterException, OSError)
"""What a client of `connect` raises when its Redis cannot be used."""
_SENTINEL_PORT: Final = 26379
# Celery's names of ssl_cert_reqs are those of Python's constants, redis-py's are not.
_CERT_REQS: Final = {"CERT_NONE": "none", "CERT_OPTIONAL": "optional", "CERT_REQUIRED": "required"}


def is_redis(url: str) -> bool:
    """Whether a broker's URL names a Redis, so that run journals can be kept there."""
    return url.split("://")[0] in SCHEMES


def connect(
    url: str,
    *,
    options: Mapping[str, Any] | None = None,
    use_ssl: Mapping[str, Any] | bool | None = None,
    timeout: float = 5.0,
    retries: int = 2,
) -> redis.Redis:
    """Return a client for `url`; nothing is connected before its first use, and an attempt takes `timeout` s at most.

    - `redis://`, `rediss://`, `unix://`: as redis-py and Celery have them.
    - `redis+cluster://host:port`, `rediss+cluster://...`: a Redis Cluster; any of its nodes.
    - `sentinel://[user:password@]host:port;sentinel://host:port/db?master_name=NAME`: as Celery has it, with the
      name of the master in the query, or in `options` (Celery's `broker_transport_options`), which may also have
      `sentinel_kwargs`, arguments of the connections to the Sentinels. `ssl_*` in the query means TLS to all.

    `use_ssl` is Celery's `broker_use_ssl`. Raises `ValueError` for a URL that cannot be meant.
    """
    scheme = url.split("://")[0]
    arguments: dict[str, Any] = {
        "decode_responses": True,
        "socket_connect_timeout": min(timeout, 3.0),
        "socket_timeout": timeout,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), retries),
    }
    secured = dict(use_ssl) if isinstance(use_ssl, Mapping) else {}
    if scheme == _SENTINEL:
        return _behind_sentinels(url, arguments, options or {}, secured, tls=bool(use_ssl))
    if scheme not in SCHEMES:
        raise ValueError(f"its scheme is none of {', '.join(SCHEMES)}")
    cluster = scheme in _CLUSTER
    parts = urlsplit(url)
    scheme = _CLUSTER.get(scheme, scheme)
    if use_ssl and scheme == "redis":
        scheme = "rediss"
    spelt = _spelt_for_redis(parts._replace(scheme=scheme))
    if cluster:
        found: Any = redis.RedisCluster.from_url(spelt, **arguments, **secured)
        client: redis.Redis = found  # the same commands
    else:
        client = redis.Redis.from_url(spelt, **arguments, **secured)
    return client


def without_password(url: str) -> str:
    """Return a URL, or several with `;` between them, as it may be shown: without user, password and query."""
    return ";".join(_without_password(one) for one in url.split(";"))


def _without_password(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        netloc = f"{host}:{parts.port}" if parts.port else host
        return parts._replace(netloc=netloc, query="").geturl()
    except ValueError:
        return "(an unreadable URL)"


def _spelt_for_redis(parts: SplitResult) -> str:
    if "CERT_" not in parts.query:
        return parts.geturl()
    query = [
        (name, _CERT_REQS.get(value, value) if name == "ssl_cert_reqs" else value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    ]
    return parts._replace(query=urlencode(query)).geturl()


def _behind_sentinels(
    url: str, arguments: dict[str, Any], options: Mapping[str, Any], secured: dict[str, Any], *, tls: bool
) -> redis.Redis:
    addresses = [urlsplit(one) for one in url.split(";") if one]
    query = {name: values[-1] for part in addresses for name, values in parse_qs(part.query).items()}
    master = query.get("master_name") or options.get("master_name")
    if not isinstance(master, str):
        raise ValueError(
            "a Sentinel watches masters by name: add ?master_name=NAME, or set master_name in "
            "broker_transport_options"
        )
    sentinel_arguments = {
        name: value for name, value in arguments.items() if name.startswith(("socket_", "retry"))
    }
    sentinel_arguments |= options.get("sentinel_kwargs") or {}
    if from_query := {name: value for name, value in query.items() if name.startswith("ssl_")}:
        reqs = from_query.get("ssl_cert_reqs", "required")
        found = from_query | {"ssl": True, "ssl_cert_reqs": _CERT_REQS.get(reqs, reqs)}
        sentinel_arguments |= found
        secured |= found
    elif tls:
        secured |= {"ssl": True}
    login = next((part for part in addresses if part.password or part.username), None)
    if login is not None:
        arguments |= {"username": _plain(login.username), "password": _plain(login.password)}
    database = next((part.path.strip("/") for part in addresses if part.path.strip("/")), "0")
    sentinels: Any = Sentinel(  # type: ignore[no-untyped-call]
        [(part.hostname or "127.0.0.1", part.port or _SENTINEL_PORT) for part in addresses],
        min_other_sentinels=options.get("min_other_sentinels", 0),
        sentinel_kwargs=sentinel_arguments,
    )
    client: redis.Redis = sentinels.master_for(
        master, redis_class=redis.Redis, db=int(database), **arguments, **secured
    )
    return client


def _plain(text: str | None) -> str | None:
    return unquote(text) if text else None
