"""What the pytest plugin's tiers cost: the start of a session, its first test, each further test; least of several.

    uv run python benchmarks/sessions.py [--tiers thread,process,containers] [--rounds 3] [--tests 5]

Each round is a new process that runs agents of a small app: one hand-off, one tool. "to first test" counts from before
the first import to the end of the first asserted run, "start" is the stack alone. The ratio is of the CPU time to the
first test, of the test process, to that of importing Celery, redis-py and the SDK, which no test of an app can avoid.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

APP = '''
from celery import Celery
from handrail_agents import Agents

app = Celery("measured", broker="redis://localhost/0")
ops = Agents(app)


@ops.tool(risk="read", touches="db://{host}")
def look(host: str) -> str:
    """Look."""
    return "seen"


@ops.agent(tools=[look])
def scout(run, host: str) -> str:
    """Look."""
    return run.call(look, host=host)


@ops.agent(delegates=[scout])
def cleaner(run, host: str) -> str:
    """Ask."""
    return str(run.delegate(scout(host=host), reason="it is better to ask"))
'''
BASELINE = "import time; import celery.app, redis, opentelemetry.sdk.trace; print(time.process_time())"


def measure(tier: str, tests: int) -> dict[str, float]:
    """In a process of its own: run a session on the app of the current folder, and return seconds."""
    began = time.perf_counter()
    from handrail_harness.testing.session import Handrail

    session = Handrail(tier, application="measured:ops", folder=Path.cwd(), patience=30)
    imported = time.perf_counter()
    with session:
        started = time.perf_counter()
        session.send("cleaner", host="db-7").assert_unified()
        first, cpu = time.perf_counter(), time.process_time()
        each = float("inf")
        for _ in range(tests):
            before = time.perf_counter()
            session.send("cleaner", host="db-7").assert_unified()
            each = min(each, time.perf_counter() - before)
    return {"start": started - imported, "first": first - began, "cpu": cpu, "each": each}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--tiers", default="thread,process,containers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tests", type=int, default=5)
    parser.add_argument("--inside", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        print(json.dumps(measure(arguments.inside, arguments.tests)))
        return
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    environment.pop("HANDRAIL_REDIS_URL", None)
    baseline = min(
        float(_run([sys.executable, "-c", BASELINE], environment)) for _ in range(arguments.rounds)
    )
    print(
        f"seconds, least of {arguments.rounds}; imports that every test of a Celery app has: {baseline:.2f} CPU"
    )
    print(f"{'tier':<12}{'start':>8}{'to first test':>15}{'of it CPU':>11}{'ratio':>7}{'each test':>11}")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "measured.py").write_text(APP, encoding="utf-8")
        for tier in arguments.tiers.split(","):
            command = [sys.executable, str(Path(__file__).absolute()), "--inside", tier]
            command += ["--tests", str(arguments.tests)]
            rounds = [json.loads(_run(command, environment, folder)) for _ in range(arguments.rounds)]
            least = {name: min(one[name] for one in rounds) for name in rounds[0]}
            print(
                f"{tier:<12}{least['start']:>8.2f}{least['first']:>15.2f}{least['cpu']:>11.2f}"
                f"{least['cpu'] / baseline:>7.2f}{least['each']:>11.2f}"
            )


def _run(command: list[str], environment: dict[str, str], folder: str | None = None) -> str:
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout.splitlines()[-1]


if __name__ == "__main__":
    main()
