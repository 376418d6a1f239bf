"""A producer of its own: starts one run of `planner` and prints its ids; with `wait`, its outcome, too.

Run as a script, so that the sender is a process which ends, as in production.
"""

from __future__ import annotations

import json
import sys

from fleet import ops

from handrail_propagation import flush

job = ops.send("planner", host="db-7")
document = {"run_id": job.run_id, "trace_id": job.trace_id}
if "wait" in sys.argv:
    outcome = job.result(timeout=60)
    document |= {"outcome": type(outcome).__name__, "detail": repr(outcome)}
flush()
print(json.dumps(document))
