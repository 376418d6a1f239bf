"""One agent that asks an OpenAI-compatible model at STUB_URL."""

from __future__ import annotations

import os

from celery import Celery

from handrail_agents import Agents, Run
from handrail_agents.models import OpenAI

app = Celery("talker", broker=os.environ["HANDRAIL_REDIS_URL"])
ops = Agents(app, queue_prefix=os.environ["OFFICE_PREFIX"])
TIMEOUT = float(os.environ["STUB_TIMEOUT"])
MODEL = OpenAI("stub-1", base_url=os.environ["STUB_URL"] + "/v1", api_key="k", timeout=TIMEOUT, max_retries=0)


@ops.agent(model=MODEL)
def talker(run: Run) -> str:
    """Say something."""
    return run.loop("Say something.")
