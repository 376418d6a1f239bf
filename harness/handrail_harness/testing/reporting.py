"""What pytest's report of a failed test is given: the runs as files, and colours for a terminal that shows them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprEntry, ReprFileLocation, ReprTraceback
from _pytest._io import TerminalWriter

from handrail_harness.errors import RunAssertion
from handrail_harness.otlpjson import write_otlp_json
from handrail_propagation.errors import HandrailError

if TYPE_CHECKING:
    from handrail_harness.testing.runs import Run
    from handrail_harness.testing.session import Handrail

_TITLE = "handrail"
_PACKAGE = Path(__file__).parents[1]
_PATIENCE = 2.0  # seconds more for a run that nobody has asked about yet


def enrich(
    report: pytest.TestReport,
    excinfo: pytest.ExceptionInfo[BaseException],
    item: pytest.Item,
    session: Handrail,
) -> None:
    """Save the runs of the test, say where, and colour an assertion about a run."""
    error = excinfo.value
    # Of the fixture `faults`, where the test has it: what was broken on purpose comes first
    faults = getattr(item, "funcargs", {}).get("faults")
    lines = [f"injected: {fault}" for fault in getattr(faults, "injected", ())]
    for number, run in enumerate(session.runs()):
        lines += _saved(run, number, item)
        if not isinstance(error, RunAssertion):
            lines += _drawn(run)
    if lines:
        report.sections.append((_TITLE, "\n".join(lines)))
    if not isinstance(error, RunAssertion):
        return
    plain = report.longrepr
    if not isinstance(plain, ExceptionChainRepr) or not _from_test(excinfo, item):
        plain = _without_frames(str(error), item, "asserted after the test")
    report.longrepr = ColouredRepr(plain, str(error), error.coloured) if error.coloured else plain


def shorten(
    report: pytest.TestReport, excinfo: pytest.ExceptionInfo[BaseException], item: pytest.Item
) -> None:
    """Tell an error of the harness in its own words and with the lines of the tests that led there.

    Its text says what to do; frames of ours and of who told us would only bury it. `--full-trace` shows them all.
    """
    error, options = excinfo.value, item.config.option
    if not isinstance(error, HandrailError) or isinstance(error, RunAssertion):
        return
    if options.fulltrace or options.tbstyle not in ("auto", "long", "short"):
        return
    theirs = [entry for entry in excinfo.traceback if _is_of_tests(Path(str(entry.path)), item)]
    if theirs:
        style: Any = "long" if options.tbstyle == "auto" else options.tbstyle
        report.longrepr = excinfo.getrepr(
            style=style, chain=False, tbfilter=lambda info: type(info.traceback)(theirs)
        )
    else:
        report.longrepr = _without_frames(
            f"{type(error).__name__}: {error}", item, "--full-trace shows where"
        )


def _is_of_tests(path: Path, item: pytest.Item) -> bool:
    installed = path.is_relative_to(_PACKAGE) or "site-packages" in path.parts
    return path.is_relative_to(item.config.rootpath) and not installed


def _from_test(excinfo: pytest.ExceptionInfo[BaseException], item: pytest.Item) -> bool:
    """Whether a line of the test's own file raised it; else it was asserted after the test."""
    return any(str(entry.path) == str(item.path) for entry in excinfo.traceback)


def _without_frames(text: str, item: pytest.Item, whence: str) -> ExceptionChainRepr:
    """Return the report of an error that no line of the test made."""
    lines = [f"E   {line}" for line in text.splitlines()]
    place = ReprFileLocation(str(item.path.name), (item.reportinfo()[1] or 0) + 1, whence)
    entry = ReprEntry(lines, None, None, place, "long")
    crash = ReprFileLocation(str(item.path), place.lineno, text.partition("\n")[0])
    return ExceptionChainRepr([(ReprTraceback([entry], None, "long"), crash, None)])


def _drawn(run: Run) -> list[str]:
    """Return the tree, for a test that failed for another reason than its run."""
    run.patience = min(run.patience, _PATIENCE)
    try:
        return run.failure().picture().splitlines() if run.spans else []
    except HandrailError as error:
        return [f"the run cannot be drawn: {error}"]


def _saved(run: Run, number: int, item: pytest.Item) -> list[str]:
    run.patience = min(run.patience, _PATIENCE)
    try:
        spans, events = list(run.spans), list(run.events)
        for branch in run.torn_off() if spans else ():
            spans += branch.spans
            events += branch.events
    except (HandrailError, OSError) as error:
        return [f"run {run.trace_id} cannot be read: {error}"]
    if not spans:
        return [f"run {run.trace_id} has no spans"]
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", item.nodeid).strip("-")[-120:]
    path = _folder(item.config) / f"{name}{f'-{number + 1}' if number else ''}.json"
    try:
        write_otlp_json(path, spans, events)
    except OSError as error:
        return [f"run {run.trace_id} cannot be saved: {error}"]
    return [f"run saved; draw it again with: handrail show {path}"]


def _folder(config: pytest.Config) -> Path:
    """Return the folder for runs of failed tests: beside the JUnit report, else in pytest's cache."""
    junit = getattr(config.option, "xmlpath", None) or _of_controller(config)
    if junit:
        return Path(str(junit)).expanduser().absolute().parent / "handrail-runs"
    cache: Any = getattr(config, "cache", None)
    if cache is not None:
        return Path(str(cache.mkdir("handrail")))
    return Path.cwd() / ".handrail-runs"


def _of_controller(config: pytest.Config) -> str:
    """Return where the JUnit report goes when this process is an xdist worker, which has the option taken away."""
    given: Any = getattr(config, "workerinput", {})
    return str(given.get("handrail_junit", ""))


class ColouredRepr(ExceptionChainRepr):
    """pytest's own report of an exception, with our colours in its last lines where the terminal has colours."""

    def __init__(self, plain: ExceptionChainRepr, text: str, coloured: str) -> None:
        super().__init__(plain.chain)
        self.sections = plain.sections
        self._swap = dict(zip(text.splitlines(), coloured.splitlines(), strict=False))

    def toterminal(self, tw: TerminalWriter) -> None:
        """Write the report."""
        if not tw.hasmarkup or not self.chain:
            super().toterminal(tw)
            return
        entry: Any = self.chain[-1][0].reprentries[-1]
        before: Sequence[str] = list(entry.lines)
        entry.lines = [self._coloured(line) for line in before]
        try:
            super().toterminal(tw)
        finally:
            entry.lines = before

    def _coloured(self, line: str) -> str:
        if not line.startswith("E"):
            return line
        text = line[1:].strip()
        found = next((new for old, new in self._swap.items() if old.strip() == text and text), None)
        return line if found is None else f"E   \x1b[0m{found}"
