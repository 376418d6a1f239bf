"""The rows of the table in docs/durability.md: what is promised, which test holds it, which figures show it."""

from __future__ import annotations

from typing import Final

from .answers import prefix
from .report import Row

_KILLS: Final = "faults/test_faults_kills.py"
_FORWARDER: Final = "faults/test_faults_forwarder.py"
_DESTINATIONS: Final = "faults/test_faults_destinations.py"
_LIVES: Final = (
    "{lost:,} of {effects:,} lost; of the {last_calls} last calls before the kill, {last_calls_lost}"
)
_TROUBLE: Final = "{lost} of {effects} lost; {twice} copies, with the ids of their originals"
_NO_DISK: Final = "no disk: what is in memory is lost, as by SIGKILL: {lost:,} of {effects:,}"


def _trouble(name: str, fault: str, promise: str, result: str = _TROUBLE, *, over: str = "http") -> Row:
    figure = f"{prefix(over)} {name}"
    return Row(
        fault if over == "http" else f"gRPC: {fault}",
        promise,
        f"{_DESTINATIONS}::test_trouble_loses_nothing",
        figure,
        result,
        f"{figure} stock",
        "{lost} of {effects} lost",
    )


def _worker(what: str, fault: str, *, stopped: bool = False) -> Row:
    test = "test_everything_arrives_however_a_worker_is_stopped"
    return Row(
        f"a real worker: {fault}",
        "every call that was made arrives before the worker is gone",
        f"integration/spool/test_forward_workers.py::{test if stopped else 'test_everything_of_every_pool_arrives'}",
        f"worker {what}",
        "{lost} of {effects} lost",
        f"worker {what} stock",
        "{lost} of {effects} lost",
    )


def _over_grpc(name: str, fault: str, promise: str, result: str = _TROUBLE) -> Row:
    return _trouble(name, fault, promise, result, over="grpc")


ROWS: Final = (
    Row(
        "SIGKILL at every step of the writer",
        "no effect above `read` without its start and decision on record; exact account",
        f"{_KILLS}::test_a_kill_at_every_step_loses_nothing",
        "kill at every step",
        "{steps} steps, {kills} kills: {effects} effects, {effects_without_record} without a record; "
        "{acknowledged_lost} acknowledged records lost, {inexact} accounts inexact",
        "lives stock",
        "no record before the act: " + _LIVES,
    ),
    Row(
        "SIGKILL at random: writer, pool child, worker's main process",
        "the same",
        f"{_KILLS}::test_kills_at_random_instants_lose_nothing",
        "kill at random instants",
        "{kills:,} kills: {effects:,} effects, {effects_without_record} without a record; {acknowledged_lost} of "
        "{records:,} records lost, {inexact} accounts inexact",
        "lives stock",
        _LIVES,
    ),
    Row(
        "SIGKILL at random within 10 s of work, through to the destination",
        "every call arrives, the last one before the kill included",
        f"{_DESTINATIONS}::test_lives_that_end_at_random_reach_the_destination",
        "lives",
        _LIVES,
        "lives stock",
        _LIVES,
    ),
    Row(
        "SIGKILL of pool children of a real prefork worker with agents, then of the worker",
        "every call arrives once, with its decision and its parents",
        "integration/spool/test_spool_kills.py::test_kills_of_a_real_pool_lose_nothing",
        "kill of a real pool",
        "{kills} kills: {lost} of {effects:,} effects lost; {records:,} records, {quarantined} torn",
        "lives stock",
        _LIVES,
    ),
    Row(
        "SIGKILL at every step of the forwarder",
        "the next one delivers the rest; copies have the id of their original",
        f"{_FORWARDER}::test_a_forwarder_killed_at_every_step_loses_nothing",
        "forwarder killed at every step",
        "{steps} steps, {kills} kills: {lost} lost, {left} left behind, {inexact} accounts inexact",
        "",
        "has none: the exporter is a thread of the process that is killed",
    ),
    Row(
        "SIGKILL at random: forwarders, then the worker",
        "the same",
        f"{_FORWARDER}::test_forwarders_killed_at_random_lose_nothing",
        "forwarder killed at random",
        "{kills:,} kills: {lost} of {effects:,} effects lost; {records:,} records, {left} left behind, "
        "{inexact} accounts inexact",
        "",
        "has none",
    ),
    Row(
        "simulated: forwarders killed anywhere, restarts, destinations that come and go, processes wrongly called dead",
        "everything arrives at both destinations, and no span has two ends",
        "faults/test_faults_simulation.py::test_whatever_happens_everything_arrives_once",
        "simulation",
        "{lives} lives, {kills:,} kills: {lost} of {records:,} records lost, {ended_twice} spans ended twice, "
        "{left} left behind, {inexact} accounts inexact",
        "",
        "has none",
    ),
    Row(
        "loss of power, writer",
        "what was acknowledged is readable, and everything goes on without a hand",
        "faults/test_faults_powerloss.py::test_every_crash_state_recovers",
        "power loss",
        "{states:,} states of the disk: {lost} of {acknowledged:,} acknowledged effects lost",
        "lives stock",
        _NO_DISK,
    ),
    Row(
        "loss of power, forwarder",
        "everything arrives, and no span is ended twice",
        "faults/test_faults_powerloss_forwarder.py::test_every_crash_state_is_forwarded",
        "power loss forwarder",
        "{states:,} states of the disk: {lost} of {acknowledged:,} acknowledged effects lost",
        "lives stock",
        _NO_DISK,
    ),
    _worker("prefork", "prefork, warm stop"),
    _worker("prefork --max-tasks-per-child=1", "prefork, a child for each task, warm stop"),
    _worker("threads", "threads, warm stop"),
    _worker("solo", "solo, warm stop"),
    _worker("gevent", "gevent, warm stop"),
    _worker("SIGTERM", "SIGTERM in the middle of the work", stopped=True),
    _worker("SIGINT", "SIGINT in the middle of the work", stopped=True),
    _worker("SIGQUIT", "SIGQUIT in the middle of the work", stopped=True),
    Row(
        "disk full (a tmpfs of 256 KiB)",
        "effects above `read` are refused; reads go on and are counted",
        "faults/test_faults_diskfull.py::test_a_full_disk_refuses_effects_and_nothing_else",
        "disk full",
        "{effects} effects, {effects_without_record} without a record; then {refused} refused, {reads} reads made, "
        "{dropped} records of reads dropped and counted",
        "",
        "uses no disk",
    ),
    Row(
        "EIO from a sync",
        "the call is not made; the segment is never used again",
        "faults/test_faults_sync.py::test_an_error_from_sync_retires_the_segment",
        "sync error",
        "{refused} refused, {effects} effects after them, {lost} without a record; {used_again} descriptors used again",
        "",
        "uses no disk",
    ),
    Row(
        "destination down for {seconds:.0f} s, up to {rate:.0f} decisions/s",
        "all arrive when it is back; memory is bounded",
        f"{_DESTINATIONS}::test_an_outage_loses_nothing",
        "outage",
        "{lost} of {effects:,} lost; memory of writer and forwarder grew by {writer_growth:,} and "
        "{forwarder_growth:,} bytes",
        "outage stock",
        "{lost:,} of {effects:,} lost; the writer's memory grew by {writer_growth:,} bytes",
    ),
    _trouble("429", "429 with Retry-After, three times", "waited for"),
    _trouble("503", "503, three times", "tried again"),
    _trouble("garbage", "200 and a login page, three times", "not taken for an acknowledgement"),
    _trouble(
        "partial success",
        "partial success, one record rejected",
        "the rejected record is counted in quarantine, all others arrive",
        "{lost} of {effects} rejected, {quarantined} in quarantine",
    ),
    _trouble("kept but answered 503", "kept, but answered 503", "sent again under the same record id"),
    _trouble(
        "kept but not answered", "kept, and the connection closed", "sent again under the same record id"
    ),
    _trouble("slow", "slow answers", "waited for"),
    _trouble("silent", "never answered, once", "given up after the time-out, and sent again"),
    _trouble("reset while sending", "connections reset in the request", "sent again"),
    _trouble(
        "reset while answering", "connections reset before the answer", "sent again under the same record id"
    ),
    _trouble("refused", "connections refused for a second", "tried again"),
    _trouble("narrow", "100 kB/s, 20 to 40 ms of latency", "waited for"),
    _over_grpc("RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED with RetryInfo, three times", "waited for"),
    _over_grpc("UNAVAILABLE", "UNAVAILABLE, three times", "tried again"),
    _over_grpc("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED, three times", "tried again"),
    _over_grpc("UNAUTHENTICATED", "UNAUTHENTICATED, three times", "tried again: somebody will mend it"),
    _over_grpc(
        "INVALID_ARGUMENT", "INVALID_ARGUMENT, once", "sent again in halves, to find what is wrong in it"
    ),
    _over_grpc("garbage", "a response that is none, three times", "not taken for an acknowledgement"),
    _over_grpc(
        "partial success",
        "partial success, one record rejected",
        "the rejected record is counted in quarantine, all others arrive",
        "{lost} of {effects} rejected, {quarantined} in quarantine",
    ),
    _over_grpc(
        "kept but answered 503", "kept, but answered UNAVAILABLE", "sent again under the same record id"
    ),
    _over_grpc("stream reset", "kept, and the stream reset", "sent again under the same record id"),
    _over_grpc("slow", "slow answers", "waited for"),
    _over_grpc("silent", "never answered, once", "given up after the time-out, and sent again"),
    _over_grpc("reset while sending", "connections reset in the request", "sent again"),
    _over_grpc(
        "reset while answering", "connections reset before the answer", "sent again under the same record id"
    ),
    _over_grpc("refused", "connections refused for a second", "tried again"),
    _over_grpc("narrow", "100 kB/s, 20 to 40 ms of latency", "waited for"),
)
