"""What spans of ordinary instrumentation show: which database, URL or file was touched, and whether it
was changed.

Understands the stable and the older names of the OpenTelemetry database, HTTP, file and RPC conventions.
Never returns a statement, a query string or a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from handrail_harness.spans import Span
from handrail_propagation.conventions import Risk

_DELETES = frozenset(
    {"delete", "deleteone", "deletemany", "remove", "drop", "dropdatabase", "dropindex", "truncate"}
    | {"flushall", "flushdb", "del", "unlink", "rmdir", "rmtree", "purge", "destroy", "terminate", "shred"}
    | {"findanddelete", "findoneanddelete", "findandremove"}
)
_GRANTS = frozenset({"grant", "revoke", "attach", "detach", "chmod", "chown", "setfacl"})
_WRITES = frozenset(
    {"insert", "insertone", "insertmany", "update", "updateone", "updatemany", "replace", "replaceone"}
    | {"upsert", "merge", "create", "alter", "rename", "bulkwrite", "findandmodify", "findoneandupdate"}
    | {"save", "put", "patch", "write", "copy", "load", "index", "bulk", "mkdir", "move", "symlink"}
    | {"set", "mset", "setex", "setnx", "hset", "hmset", "hdel", "incr", "decr", "incrby", "append"}
    | {"lpush", "rpush", "lpop", "rpop", "sadd", "srem", "zadd", "zrem", "xadd", "xdel"}
    | {"expire", "persist", "getset", "getdel", "eval", "evalsha"}
)
_HTTP_RISKS: dict[str, Risk] = {
    "post": "external",
    "put": "external",
    "patch": "external",
    "delete": "destructive",
}
_STATEMENT_MAX = 4096
_SQL_COMMENT = re.compile(r"/\*.{0,1000}?\*/|--[^\n]{0,1000}", re.DOTALL)
_SQL_QUOTED = re.compile(r"'[^']*'")
_SQL_START = re.compile(r"(?:^|;)\s*\(*\s*([A-Za-z]+)")
_SQL_IN_WITH = re.compile(r"(?<!\bfor )\b(delete|update|insert|merge)\b(?!\s*\()", re.IGNORECASE)
_SQL_TABLE = re.compile(
    r"\b(?:from|into|update|join|table(?:\s+if\s+(?:not\s+)?exists)?|truncate)\s+(?:only\s+)?[\"`\[]?([A-Za-z_][\w.$]*)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z]+")
_CAMEL_HEAD = re.compile(r"[A-Z]?[a-z]+")
_RESOURCE_MAX = 512
_ORDER: tuple[Risk, ...] = ("read", "write", "external", "access_change", "destructive")


@dataclass(frozen=True, slots=True)
class Touch:
    """One resource, what was done to it (`delete`, `post`, `read`, ...), and how risky that is by its
    kind.
    """

    resource: str
    verb: str
    risk: Risk

    @property
    def changes(self) -> bool:
        """Whether something is different afterwards."""
        return self.risk != "read"


def touch_of(span: Span) -> Touch | None:
    """Return what an ordinary span touched, `None` for a span that shows nothing of the kind."""
    if _first(span, "db.system.name", "db.system"):
        return _database(span)
    if span.kind in ("client", "unspecified") and _first(span, "http.request.method", "http.method"):
        return _http(span)
    if _first(span, "rpc.system", "rpc.system.name") == "aws-api":
        return _aws(span)
    if _first(span, "file.path"):
        return _file(span)
    return None


def _database(span: Span) -> Touch | None:
    system = _first(span, "db.system.name", "db.system")
    statement = _first(span, "db.query.text", "db.statement")[:_STATEMENT_MAX]
    statement = _SQL_QUOTED.sub("''", _SQL_COMMENT.sub(" ", statement))
    operation = _first(span, "db.operation.name", "db.operation")
    verbs = _verbs(operation)
    verbs += [word.lower() for word in _SQL_START.findall(statement)]
    if "with" in verbs:
        verbs += [word.lower() for word in _SQL_IN_WITH.findall(statement)]
    if not verbs:
        verbs = _verbs(_first(span, "db.query.summary") or span.name)[:1]
    verb = max(verbs, key=lambda word: _ORDER.index(_risk_of(word)), default="")
    if not verb:
        return None
    collection = _first(
        span, "db.collection.name", "db.sql.table", "db.mongodb.collection", "db.cassandra.table"
    )
    if not collection and (table := _SQL_TABLE.search(statement)):
        collection = table.group(1)
    place = [_first(span, "db.namespace", "db.name").strip("/"), collection]
    resource = f"{system}://{_server(span)}/" + "/".join(part for part in place if part)
    return Touch(resource[:_RESOURCE_MAX], verb, _risk_of(verb))


def _http(span: Span) -> Touch:
    method = _first(span, "http.request.method", "http.method").lower()
    resource = without_secrets(_first(span, "url.full", "http.url"))
    if not resource:
        scheme = _first(span, "url.scheme", "http.scheme") or "http"
        path = _first(span, "url.path", "http.target").partition("?")[0]
        resource = f"{scheme}://{_server(span)}{path if path.startswith('/') else '/' + path}"
    return Touch(resource[:_RESOURCE_MAX], method, _HTTP_RISKS.get(method, "read"))


def _aws(span: Span) -> Touch | None:
    method = _first(span, "rpc.method").rpartition("/")[2]
    if not _verbs(method):
        return None
    service = _first(span, "rpc.service") or "aws"
    region = _first(span, "aws.region", "cloud.region")
    return Touch(f"aws://{region}/{service}/{method}"[:_RESOURCE_MAX], method, _risk_of(_verbs(method)[0]))


def _file(span: Span) -> Touch:
    verb = max(
        _verbs(_first(span, "file.operation") or span.name),
        key=lambda word: _ORDER.index(_risk_of(word)),
        default="read",
    )
    risk = _risk_of(verb)
    path = _first(span, "file.path")
    return Touch(f"file://{path}"[:_RESOURCE_MAX], verb if risk != "read" else "read", risk)


def without_secrets(url: str) -> str:
    """Return the URL without user, password, query and fragment; `""` for what is no URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    if not parts.scheme:
        return ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{f':{port}' if port is not None else ''}{parts.path}"


def _risk_of(verb: str) -> Risk:
    if verb in _DELETES:
        return "destructive"
    if verb in _GRANTS:
        return "access_change"
    return "write" if verb in _WRITES else "read"


def _verbs(text: str) -> list[str]:
    """Return the words of an operation's name in lower case; `PutItem` as `put`, `findAndModify` as it is
    known.
    """
    verbs: list[str] = []
    for word in _WORD.findall(text[:_STATEMENT_MAX]):
        head = _CAMEL_HEAD.match(word)
        known = _risk_of(word.lower()) != "read" or head is None
        verbs.append(word.lower() if known or head is None else head.group().lower())
    return verbs


def _server(span: Span) -> str:
    address = _first(
        span, "server.address", "net.peer.name", "net.peer.ip", "http.host", "server.socket.address"
    )
    port = span.attributes.get("server.port", span.attributes.get("net.peer.port"))
    address = address.rpartition("@")[2]
    return f"{address}:{port}" if address and isinstance(port, int) and ":" not in address else address


def _first(span: Span, *keys: str) -> str:
    for key in keys:
        value = span.text(key)
        if value:
            return value
    return ""
