"""What the clients of the two official SDKs share: one client per process, failures in one clear line.

The texts of an SDK's errors may hold prompts, keys or a whole HTML page: they are classified, never repeated.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

from opentelemetry import context

from handrail_agents.models.base import ModelError
from handrail_propagation.errors import ConfigurationError

DEFAULT_TIMEOUT: Final = 120.0
DEFAULT_RETRIES: Final = 2

# Two ways to say "somebody else records this call"; spans of the HTTP request stay. OpenLLMetry's
# instrumentations look for the first; OpenTelemetry's own look for the second, whose value is of a class of theirs.
_SUPPRESS_MODEL_SPANS = "suppress_language_model_instrumentation"
_GENAI_UTILITIES = "opentelemetry.util.genai.invocation"


class PerProcess:
    """Builds a client when it is first needed in a process: connections do not survive a fork."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._pid = 0
        self._client: Any = None

    def get(self) -> Any:
        """Return this process's client."""
        if self._pid != os.getpid():
            self._client = self._build()
            self._pid = os.getpid()
        return self._client


def load(package: str) -> ModuleType:
    """Import an SDK; raises `ConfigurationError` naming the extra that brings it."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ConfigurationError(
            f"the package {package!r} is not installed; install it with:  pip install 'handrail[{package}]'"
        ) from None


@contextmanager
def only_our_span() -> Iterator[None]:
    """Tell instrumentations of the SDK that the call inside has its `chat` span already."""
    quiet = context.set_value(_SUPPRESS_MODEL_SPANS, True)
    # Loaded by whichever of those instrumentations is on; where none is, there is nothing to tell.
    utilities = sys.modules.get(_GENAI_UTILITIES)
    key = getattr(utilities, "CLIENT_INFERENCE_CONTEXT_KEY", None)
    data = getattr(utilities, "InferenceData", None)
    if key is not None and data is not None:
        quiet = context.set_value(key, data(), quiet)
    token = context.attach(quiet)
    try:
        yield
    finally:
        context.detach(token)


@contextmanager
def failures(sdk: ModuleType, provider: str, model: str, key_variable: str) -> Iterator[None]:
    """Turn what the SDK raises inside into a `ModelError`: which model, what happened, what to do."""
    unusable: type[Exception] = getattr(sdk, "AnthropicError", None) or sdk.OpenAIError
    try:
        yield
    except ModelError:
        raise
    except sdk.APITimeoutError:
        raise ModelError(
            f"model {model!r} ({provider}) did not answer in time; "
            "see whether the service is up, or raise timeout=",
            error_type="timeout",
        ) from None
    except sdk.APIResponseValidationError:
        raise garbage(provider, model, "an answer of another shape") from None
    except sdk.APIConnectionError as error:
        raise ModelError(
            f"model {model!r} ({provider}) cannot be reached; check base_url= and the network",
            error_type=type(error.__cause__ or error).__name__,
        ) from None
    except sdk.APIStatusError as error:
        raise _refused(provider, model, int(error.status_code), key_variable) from None
    except (unusable, TypeError) as error:
        # The SDKs say "no key" with a TypeError or their base error, depending on the version.
        raise ModelError(
            f"the {provider} client for model {model!r} could not be used ({type(error).__name__}); "
            f"set {key_variable}, or pass api_key=",
            error_type=type(error).__name__,
        ) from None
    except ValueError as error:  # not JSON, although the headers said so
        raise garbage(provider, model, f"something that is not JSON ({type(error).__name__})") from None


def encodable(text: str) -> str:
    """Return `text` with a `?` for each lone surrogate: a service may send them, and none takes them back."""
    return text.encode("utf-8", "replace").decode("utf-8")


def text_or_none(value: Any) -> str | None:
    """Return `value` if it is a string: a service may send anything in any place."""
    return value if isinstance(value, str) else None


def count_or_none(value: Any) -> int | None:
    """Return `value` if it is a number of tokens."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def garbage(provider: str, model: str, what: str) -> ModelError:
    """Return the error for an answer that is no answer."""
    return ModelError(
        f"model {model!r} ({provider}) answered with {what}; check that base_url= is that of its API",
        error_type="invalid_response",
    )


def _refused(provider: str, model: str, status: int, key_variable: str) -> ModelError:
    todo = {
        400: "the request does not suit it: check the model's name and the size of the conversation",
        401: f"check {key_variable}",
        403: f"the key in {key_variable} may not use it",
        404: "check the model's name and base_url=",
        413: "the conversation is too large for it",
        429: "its rate limit is used up: try later, or raise max_retries=",
    }.get(
        status,
        "the service has a problem: try later" if status >= 500 else "see the provider's documentation",
    )
    return ModelError(f"model {model!r} ({provider}) answered HTTP {status}; {todo}", error_type=str(status))
