"""The names on the wire: every span, attribute, event, header and baggage key that Handrail writes or reads.

The one place that spells these strings; everything else imports them. GenAI names follow the OpenTelemetry
GenAI conventions at `GENAI_CONVENTIONS_REF` (status Development, no release), messaging names the
OpenTelemetry messaging conventions (Development), `agent.*` names are Handrail's own. No logic in here.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

GENAI_CONVENTIONS_REF: Final = "open-telemetry/semantic-conventions-genai, main as of November 2026"

# --- GenAI ------------------------------------------------------------------------------------------------
GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
GEN_AI_RESPONSE_ID: Final = "gen_ai.response.id"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_AGENT_NAME: Final = "gen_ai.agent.name"
GEN_AI_TOOL_NAME: Final = "gen_ai.tool.name"
GEN_AI_TOOL_TYPE: Final = "gen_ai.tool.type"
GEN_AI_TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
GEN_AI_DATA_SOURCE_ID: Final = "gen_ai.data_source.id"
GEN_AI_TOOL_CALL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
GEN_AI_TOOL_CALL_RESULT: Final = "gen_ai.tool.call.result"
GEN_AI_INPUT_MESSAGES: Final = "gen_ai.input.messages"
GEN_AI_OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
GEN_AI_SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
GEN_AI_CONVERSATION_ID: Final = "gen_ai.conversation.id"
GEN_AI_CONVERSATION_COMPACTED: Final = "gen_ai.conversation.compacted"

OPERATION_CHAT: Final = "chat"
OPERATION_INVOKE_AGENT: Final = "invoke_agent"
OPERATION_EXECUTE_TOOL: Final = "execute_tool"
OPERATION_RETRIEVAL: Final = "retrieval"

# --- Messaging --------------------------------------------------------------------------------------------
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION_NAME: Final = "messaging.destination.name"
MESSAGING_MESSAGE_ID: Final = "messaging.message.id"
MESSAGING_CLIENT_ID: Final = "messaging.client.id"
MESSAGING_CONSUMER_GROUP: Final = "messaging.consumer.group.name"

METRIC_OPERATION_DURATION: Final = "messaging.client.operation.duration"
METRIC_PROCESS_DURATION: Final = "messaging.process.duration"
METRIC_SENT: Final = "messaging.client.sent.messages"
METRIC_CONSUMED: Final = "messaging.client.consumed.messages"

OPERATION_SEND: Final = "send"
OPERATION_PROCESS: Final = "process"

MESSAGE_ATTEMPT: Final = "agent.message.attempt"
MESSAGE_REDELIVERED: Final = "agent.message.redelivered"
MESSAGE_ENQUEUED_AT: Final = "agent.message.enqueued_at"
MESSAGE_QUEUE_WAIT: Final = "agent.message.queue_wait"
MESSAGE_INTENDED_DELAY: Final = "agent.message.intended_delay"
"""Seconds that the sender asked the message to wait (ETA, countdown); not part of the queue wait."""
MESSAGE_TRACEPARENT: Final = "agent.message.traceparent"
"""Why the traceparent that a message had is not its parent; absent where it is, and where there was none."""
TRACEPARENT_UNPARSABLE: Final = "unparsable"
TRACEPARENT_NOT_TRUSTED: Final = "not_trusted"
MESSAGE_ROOT_ID: Final = "agent.message.root_id"
MESSAGE_PARENT_ID: Final = "agent.message.parent_id"

# --- What opentelemetry-instrumentation-celery emits, kept so that existing dashboards go on working --------
CELERY_ACTION: Final = "celery.action"
CELERY_TASK_NAME: Final = "celery.task_name"
CELERY_STATE: Final = "celery.state"
CELERY_HOSTNAME: Final = "celery.hostname"
CELERY_RETRIES: Final = "celery.retries"
CELERY_ETA: Final = "celery.eta"
CELERY_EXPIRES: Final = "celery.expires"
CELERY_TERMINATED_SIGNAL: Final = "celery.terminated.signal"
CELERY_ACTION_SEND: Final = "apply_async"
CELERY_ACTION_RUN: Final = "run"

# --- Runs, delegation ---------------------------------------------------------------------------------------
RUN_ID: Final = "agent.run.id"
RUN_SEGMENT: Final = "agent.run.segment"
DELEGATION_REASON: Final = "agent.delegation.reason"
DELEGATION_DEPTH: Final = "agent.delegation.depth"
DELEGATION_PATH: Final = "agent.delegation.path"
CALLER_NAME: Final = "agent.caller.name"

# --- Decisions and tools ------------------------------------------------------------------------------------
DECISION_ID: Final = "agent.decision.id"
DECISION_INTENT: Final = "agent.decision.intent"
DECISION_REASONING: Final = "agent.decision.reasoning"
DECISION_CONTEXT_SOURCE: Final = "agent.decision.context_source"
DECISION_OBSERVED_SOURCE: Final = "agent.decision.observed_source"
DECISION_SOURCE_VERDICT: Final = "agent.decision.source_verdict"
DECISION_RISK: Final = "agent.decision.risk"
DECISION_DECLARED_RISK: Final = "agent.decision.declared_risk"
DECISION_REVERSIBLE: Final = "agent.decision.reversible"
TOOL_DISPOSITION: Final = "agent.tool.disposition"
TOOL_RESULT_STATUS: Final = "agent.tool.result_status"
TOOL_TOUCHES: Final = "agent.tool.touches"
TOOL_ARGS_DIGEST: Final = "agent.tool.args_digest"
TOOL_CREDENTIAL_ID: Final = "agent.tool.credential.id"
APPROVAL_ID: Final = "agent.approval.id"
APPROVAL_OUTCOME: Final = "agent.approval.outcome"
APPROVAL_APPROVER: Final = "agent.approval.approver"
APPROVAL_WAIT: Final = "agent.approval.wait"
ABANDONED: Final = "agent.abandoned"
ABANDONED_REASON: Final = "agent.abandoned.reason"
"""How the process ended, e.g. `signal 9 (SIGKILL)` or `exitcode 1`; with `agent.abandoned` only."""
GATE: Final = "agent.gate"
"""`off` on every span that an agent system with its gate switched off let through; absent otherwise."""

RECORD_ID: Final = "agent.record.id"
"""On what was forwarded from a spool: writer and number of its record, the same on every copy of it."""

INTENT_MAX_CHARS: Final = 256
REASONING_MAX_CHARS: Final = 512
REASON_MAX_CHARS: Final = 512

Risk = Literal["read", "write", "external", "access_change", "destructive"]
RISKS: Final[tuple[Risk, ...]] = get_args(Risk)
"""Lowest first: the effective risk of a call is the later of two entries."""

ContextSource = Literal[
    "operator", "user_message", "tool_output", "retrieved_document", "file", "memory", "delegation", "unknown"
]
CONTEXT_SOURCES: Final[tuple[ContextSource, ...]] = get_args(ContextSource)

SourceVerdict = Literal["confirmed", "contradicted", "undetermined"]
SOURCE_VERDICTS: Final[tuple[SourceVerdict, ...]] = get_args(SourceVerdict)

Disposition = Literal[
    "executed",
    "awaiting_approval",
    "denied",
    "expired",
    "no_decision_record",
    "not_recorded",
    "invalid_arguments",
    "unknown_tool",
    "in_doubt",
    "cancelled",
    "over_budget",
]
DISPOSITIONS: Final[tuple[Disposition, ...]] = get_args(Disposition)

ResultStatus = Literal["ok", "error", "none"]
RESULT_STATUSES: Final[tuple[ResultStatus, ...]] = get_args(ResultStatus)

# --- Links, events, errors ----------------------------------------------------------------------------------
LINK_TYPE: Final = "agent.link.type"
LINK_CREATION_CONTEXT: Final = "creation_context"
LINK_CAUSED_BY_GENERATION: Final = "caused_by_generation"
LINK_INFORMED_BY: Final = "informed_by"
LINK_PREVIOUS_SEGMENT: Final = "previous_segment"
LINK_WOKEN_BY: Final = "woken_by"
LINK_RETRY_OF: Final = "retry_of"
LINK_PREDECESSOR: Final = "predecessor"
"""From a chain step, a callback or a chord body to the run (each run) whose end let it start."""
LINK_CLAIMED: Final = "claimed_context"
"""From the root of a restarted trace to the span that an untrusted producer claimed as parent."""

EVENT_DECISION: Final = "agent.decision"
EVENT_TOOL_CONTENT: Final = "agent.tool.content"
EVENT_INFERENCE_DETAILS: Final = "gen_ai.client.inference.operation.details"

ERROR_TYPE: Final = "error.type"
ERROR_WORKER_LOST: Final = "worker_lost"
ERROR_REVOKED: Final = "revoked"
ERROR_TERMINATED: Final = "terminated"
ERROR_EXPIRED: Final = "expired"
ERROR_REJECTED: Final = "rejected"
ERROR_IGNORED: Final = "ignored"
ERROR_UNKNOWN_TASK: Final = "unknown_task"
ERROR_UNDECODABLE: Final = "undecodable"
ERROR_SOFT_TIME_LIMIT: Final = "soft_time_limit"
ERROR_TIME_LIMIT: Final = "time_limit"
ERROR_INTERNAL: Final = "internal_error"
ERROR_RETRY: Final = "retry"

# --- The spool: who wrote a segment (its writer record) -----------------------------------------------------
PROCESS_PID: Final = "process.pid"
PROCESS_PARENT_PID: Final = "process.parent_pid"
HOST_NAME: Final = "host.name"
METRIC_SPOOL_PENDING: Final = "handrail.spool.pending"
METRIC_SPOOL_DELIVERED: Final = "handrail.spool.delivered"
METRIC_SPOOL_QUARANTINED: Final = "handrail.spool.quarantined"
METRIC_SPOOL_DROPPED: Final = "handrail.spool.dropped"
METRIC_SPOOL_SIZE: Final = "handrail.spool.size"
METRIC_SPOOL_OLDEST: Final = "handrail.spool.oldest_pending_age"
SPOOL_PROCESS_START: Final = "handrail.spool.process_start"
SPOOL_BOOT_ID: Final = "handrail.spool.boot_id"
SPOOL_PID_NAMESPACE: Final = "handrail.spool.pid_namespace"

# --- Message headers and baggage ------------------------------------------------------------------------
HEADER_TRACEPARENT: Final = "traceparent"
HEADER_TRACESTATE: Final = "tracestate"
HEADER_BAGGAGE: Final = "baggage"
HEADER_MESSAGE: Final = "handrail_message"
"""Message header of this package: when the message was sent, who delegated, which attempt came before.

An object with `at` in seconds since 1970; where that is all, an integer, in microseconds.
"""
REQUEST_CHOSEN_IDS: Final = "handrail_chosen_ids"
"""Where the worker's main process leaves its pid and the ids that it chose in Celery's request; never in a message."""
HEADER_HANDRAIL: Final = "handrail"
"""Message header of an agent hand-off: run, invocation, who delegated (handrail_agents.handoff)."""

BAGGAGE_RUN_ID: Final = RUN_ID

CAPTURE_CONTENT_VARIABLE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
