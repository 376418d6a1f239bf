"""pytest plugin: the fixtures `handrail`, `faults` and `golden`. Importing it costs nothing; runs without it are not
changed.

Everything else is in `handrail_harness.testing`, which is imported by the fixtures.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from handrail_harness.faults import Faults
    from handrail_harness.testing import Handrail
    from handrail_harness.testing.goldens import Golden

_FIXTURES = frozenset({"handrail", "faults", "golden"})
_TIERS = ("thread", "process", "containers", "external")
_EXPORTERS = ("OTEL_TRACES_EXPORTER", "OTEL_LOGS_EXPORTER")
_session = pytest.StashKey["Handrail"]()
_silenced = pytest.StashKey[list[str]]()
_shared_id = pytest.StashKey[str]()
_left = pytest.StashKey[str]()
_swept = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of `pytest --help` and of the configuration file."""
    group = parser.getgroup("handrail", "trace trees of Celery tasks and agents (handrail)")
    group.addoption(
        "--handrail-tier", choices=_TIERS, default=None, help="what runs stand on (default: available)"
    )
    group.addoption(
        "--handrail-app", metavar="MODULE:ATTRIBUTE", default=None, help="the application under test"
    )
    group.addoption(
        "--handrail-source", metavar="SOURCE", default=None, help="tier external: where spans are read"
    )
    group.addoption("--update-golden", action="store_true", default=False, help="write golden files anew")
    parser.addini("handrail_tier", "what runs stand on, as --handrail-tier", default="")
    parser.addini("handrail_app", "the application under test, MODULE:ATTRIBUTE", default="")
    parser.addini("handrail_source", "tier external: where spans are read from", default="")
    parser.addini("handrail_patience", "seconds that a run may take to come to rest", default="10")


def pytest_configure(config: pytest.Config) -> None:
    """Where an application is configured, keep it from exporting to nowhere while tests import it."""
    config.stash[_silenced] = []
    if _setting(config, "app") and _setting(config, "tier") != "external":
        for name in _EXPORTERS:
            if name not in os.environ:
                os.environ[name] = "none"
                config.stash[_silenced].append(name)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Put the environment back."""
    for name in config.stash.get(_silenced, []):
        os.environ.pop(name, None)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In the controller of pytest-xdist: note the session's id, tell the worker where the report goes."""
    node.config.stash[_shared_id] = str(node.workerinput["testrunuid"])
    node.workerinput["handrail_junit"] = str(getattr(node.config.option, "xmlpath", None) or "")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """In the controller of pytest-xdist: take over what a worker has swept."""
    _note_swept(node.config, getattr(node, "workeroutput", {}).get("handrail_swept", ()))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In the controller of pytest-xdist: the stack that the workers shared must go with the last of them."""
    run_id = session.config.stash.get(_shared_id, "")
    if run_id:
        from handrail_harness.testing.folders import gone, shared_folder

        if not gone(shared_folder(run_id)):
            session.config.stash[_left] = f"the shared stack in {shared_folder(run_id)} has not ended"
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left behind, by this session and by killed ones before it."""
    if swept := terminalreporter.config.stash.get(_swept, []):
        terminalreporter.write_sep("=", "handrail: left by test sessions that were killed")
        for line in swept:
            terminalreporter.write_line(line)
    if left := terminalreporter.config.stash.get(_left, ""):
        terminalreporter.write_sep("=", "handrail", red=True)
        terminalreporter.write_line(f"left behind: {left}; `handrail sweep` removes what it can")


@pytest.fixture(scope="session")
def handrail_app(pytestconfig: pytest.Config) -> object:
    """The application under test: the option, `handrail_app` in the configuration file, or what overrides this."""
    return _setting(pytestconfig, "app") or None


@pytest.fixture(scope="session")
def handrail(pytestconfig: pytest.Config, handrail_app: object) -> Iterator[Handrail]:
    """The stack of this session, and runs on it; see docs/testing.md."""
    from handrail_harness.testing import Handrail
    from handrail_harness.testing.folders import shared_folder
    from handrail_harness.testing.shared import Shared

    worker: Any = getattr(pytestconfig, "workerinput", {})  # of pytest-xdist
    run_id = str(worker.get("testrunuid", ""))
    with Handrail(
        _setting(pytestconfig, "tier"),
        application=handrail_app,
        folder=pytestconfig.rootpath,
        source=_setting(pytestconfig, "source"),
        patience=_patience(pytestconfig),
        shared=Shared(shared_folder(run_id)) if run_id else None,
    ) as session:
        session.begin_test(os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0])
        pytestconfig.stash[_session] = session
        _note_swept(pytestconfig, session.swept)
        yield session
        del pytestconfig.stash[_session]


@pytest.fixture
def faults(handrail: Handrail) -> Iterator[Faults]:
    """Verbs that break hand-offs on purpose, undone after the test; see docs/faults.md."""
    from handrail_harness.faults import Faults

    with Faults(handrail, folder=handrail.faults_folder()) as injected:
        yield injected


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compares the shape of a run with a file in `goldens/` beside the test; --update-golden writes it."""
    from handrail_harness.testing.goldens import Golden

    name = request.node.nodeid.partition("::")[2]  # with its class: two may have a test of one name
    return Golden(request.path, name, update=bool(request.config.getoption("update_golden")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Tell the session which test is running, and what it left."""
    if (session := _active(item)) is not None:
        session.begin_test(item.nodeid)
    result = yield
    if (session := _active(item)) is not None:
        session.end_test()
    return result


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """After the test's own assertions: every run that it used must be one unified tree."""
    __tracebackhide__ = True
    result = yield
    if (session := _active(item)) is not None:
        session.assert_runs()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Save the runs of a failed test beside the report; show its tree in colour where colours are shown.

    What the harness itself refuses, such as to start without Docker, is told without its own frames.
    """
    report = yield
    if report.failed and call.excinfo is not None:
        session = _active(item)
        if session is not None or not _FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
            from handrail_harness.testing.reporting import enrich, shorten

            shorten(report, call.excinfo, item)
            if session is not None:
                enrich(report, call.excinfo, item, session)
    return report


def _note_swept(config: pytest.Config, lines: Sequence[str]) -> None:
    known = config.stash.setdefault(_swept, [])
    known += lines
    if (output := getattr(config, "workeroutput", None)) is not None:  # a worker of pytest-xdist
        output["handrail_swept"] = known


def _active(item: pytest.Item) -> Handrail | None:
    return item.config.stash.get(_session, None)


def _patience(config: pytest.Config) -> float:
    """Return how many seconds a run may take to come to rest."""
    text = str(config.getini("handrail_patience"))
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        from handrail_harness.errors import StackError

        raise StackError(f"handrail_patience = {text}: give how many seconds a run may take, such as 10")
    return seconds


def _setting(config: pytest.Config, name: str) -> str:
    value = config.getoption(f"handrail_{name}", default=None)
    return str(value if value is not None else config.getini(f"handrail_{name}"))
