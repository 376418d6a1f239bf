"""Many messages at once: what is sent inside `fan_out(app)` goes to Redis in pipelines, with one client.

kombu's Redis transport makes a client for every message, and waits for every reply; its `Producer.batch()` does
neither, but Celery does not use it. No Celery in here: an app is asked for its producer, nothing else.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from celery import Celery

_log = logging.getLogger(__name__)

MESSAGES_MAX: Final = 500
"""Messages that wait at most; then they are sent, and the next ones begin a new pipeline."""


class Pending(Protocol):
    """A publish of which it is not known yet whether the broker takes it."""

    def failed(self, error: BaseException) -> None:
        """The broker did not take it."""

    def end(self) -> None:
        """It is over, one way or the other."""


class Batch:
    """What one `fan_out` has not sent yet. For the thread that made it only: kombu's batches are a thread's own."""

    __slots__ = ("_flush", "_pending", "_thread", "app", "is_open", "producer")

    def __init__(self, app: Celery, producer: Any, flush: Callable[[], None]) -> None:
        self.app = app
        self.producer = producer
        self.is_open = True
        self._flush = flush
        self._pending: list[Pending] = []
        self._thread = threading.get_ident()

    def takes(self, app: Celery) -> bool:
        """Whether a message that this app sends now belongs in here."""
        return self.is_open and self.app is app and self._thread == threading.get_ident()

    def add(self, publish: Pending) -> None:
        """Keep a publish until its message has been sent; raises kombu's `BatchPublishError` if that is now."""
        self._pending.append(publish)
        if len(self._pending) >= MESSAGES_MAX:
            self.flush()

    def flush(self) -> None:
        """Send what waits, and end each publish as it went; raises kombu's `BatchPublishError`."""
        pending, self._pending = self._pending, []
        try:
            self._flush()
        except BaseException as error:
            for publish in pending:
                publish.failed(error)
            raise
        finally:
            for publish in pending:
                publish.end()


_current: ContextVar[Batch | None] = ContextVar("handrail_fan_out", default=None)


@contextmanager
def fan_out(app: Celery) -> Iterator[None]:
    """Send the messages that `app` sends inside in pipelines of 500, if its broker is Redis; else one by one.

    They are on their way when the block has been left, also by an exception, not before: do not wait for a result
    inside. One `fan_out` in another of the same app belongs to the outer one. Each message has its own `send` span,
    which ends when the broker has taken it.

    Raises kombu's `BatchPublishError` when the broker does not take a pipeline: each `send` span of it has failed, and
    some of its messages may have been delivered. There is no second try (Celery's `task_publish_retry`), which could
    deliver them twice.
    """
    app = getattr(app, "_get_current_object", lambda: app)()
    if batch_of(app) is not None:
        yield
        return
    with app.producer_or_acquire() as producer:
        if not producer.supports_batch_publish:
            yield
            return
        _offer(app)
        # Pipelines are cut in here, where the publishes are known that are in them
        with producer.batch(max_size=sys.maxsize) as buffer:
            batch = Batch(app, producer, buffer.flush)
            token = _current.set(batch)
            try:
                yield
            except BaseException as error:
                _close(batch, error)
                raise
            else:
                _close(batch)
            finally:
                _current.reset(token)


def batch_of(app: Celery) -> Batch | None:
    """Return the batch that messages of this app go into now, `None` when they are sent one by one."""
    batch = _current.get()
    return batch if batch is not None and batch.takes(app) else None


def _close(batch: Batch, error: BaseException | None = None) -> None:
    """Send what is left. An error of the block itself goes first: what follows from it is a note."""
    try:
        batch.flush()
    except Exception as failure:
        if error is None:
            raise
        error.add_note(f"messages sent in the same fan_out() may not have been delivered: {failure!r}")
        _log.warning("fan_out() ended by %r could not send its messages", error, exc_info=True)
    finally:
        batch.is_open = False


def _offer(app: Celery) -> None:
    """Let the app, when it asks itself for a producer, be given that of the batch, which goes back to no pool."""
    if "producer_or_acquire" in vars(app):
        return
    acquire = app.producer_or_acquire

    def producer_or_acquire(producer: Any = None) -> AbstractContextManager[Any]:
        if producer is None and (batch := batch_of(app)) is not None:
            return nullcontext(batch.producer)
        found: AbstractContextManager[Any] = acquire(producer)
        return found

    vars(app)["producer_or_acquire"] = producer_or_acquire
