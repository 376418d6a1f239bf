"""The column of the stock instrumentation in docs/propagation.md: which figures fill which cell.

Cells that are not named here say what a named upstream issue says, or that stock has nothing of the kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "propagation.md"
FIGURES: Final = Path(__file__).parent / "figures"
_SITUATION, _STOCK = 0, 1

CELLS: Final[Mapping[str, tuple[str, str]]] = {
    "prefork, solo, threads, gevent": (
        "pools",
        "consumer spans of {tasks} tasks, by the documented hook in `worker_process_init`: {prefork} (prefork), {solo} "
        "(solo), {threads} (threads), {gevent} (gevent)",
    ),
    "depth 6 \N{MULTIPLICATION SIGN} fan-out 5, 3,906 deliveries": (
        "wide_tree",
        "{deliveries:,} deliveries, {traces} trace, {roots} root, {orphans} orphans; {linked} links to the message's "
        "creation context",
    ),
    "warm stop; `--max-tasks-per-child=1`": (
        "stops",
        "exports {warm_stop} of {tasks} task spans; {child_per_task} of {tasks} (#4916)",
    ),
    "a publish that fails": (
        "failed_publish",
        "{exported} spans exported; what comes next hangs under it in {stays_current} of 1",
    ),
    "N retries": (
        "retries",
        "{retries} retries nest {depth} deep; {failed_unset} of {retries} failed attempts UNSET, {linked} links",
    ),
    "chain": ("chains", "one level deeper with each step: {steps} steps are {depth} deep; {linked} links"),
    "group": ("groups", "{under_root} of {members} under who started it"),
    "chord": (
        "groups",
        "body under whichever run of the header came last in {body_under_header} of 1; {body_links} links",
    ),
    "`replace`": (
        "replacement",
        "the replacement under the run that it replaces in {under_the_replaced} of 1, which is {replaced_status} and "
        "{replaced_state}",
    ),
    "`link`, `link_error`": (
        "callbacks",
        "{under_the_run} of {followers} under the run that they follow; {linked} links",
    ),
    "beat": (
        "beat",
        "set up as documented, {documented_runs} runs in {documented_traces} traces, {documented_sends} with a "
        "producer span; switched on when the app is imported, {import_sends} of {import_runs}",
    ),
    "hostile headers: huge, many, mistyped, not UTF-8": (
        "hostile",
        "{done} of {shapes} tasks run, {spans} have a span; reading 10 MB of them takes up to "
        "{worst_milliseconds:,.0f} ms and {worst_bytes:,} bytes",
    ),
    "100 hops, 100 retries": (
        "header_sizes",
        "{hops_100} bytes after 100 hops ({hops_1} after one), {retries_100} after 100 retries ({retries_1})",
    ),
    "baggage cleared before a retry, a replacement, the next step of a chain": (
        "cleared_baggage",
        "comes back: {retry} of 1 (retry), {replace} of 1 (replacement), {chain} of 1 (chain)",
    ),
    "a creation context that the application supplies": (
        "headers_of_ones_own",
        "overwritten: {overwritten} of 1",
    ),
    "`argsrepr`, exception texts, retry reasons": (
        "retries",
        "in clear in headers; text of the exception on {text_on_spans} of {retries} spans of failed attempts",
    ),
}


def filled(page: str, figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page with its measured cells filled; raises `ValueError` for a situation that is not there."""
    missing = dict(CELLS)
    lines = page.split("\n")
    for number, line in enumerate(lines):
        cells = line.split(" | ")
        if found := missing.pop(cells[_SITUATION].removeprefix("| "), None):
            name, template = found
            cells[_STOCK] = template.format_map(figures[name])
            lines[number] = " | ".join(cells)
    if missing:
        raise ValueError(f"{PAGE.name} has no row for {', '.join(missing)}")
    return "\n".join(lines)
