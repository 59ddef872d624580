"""What a server is told when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from promptlathe import ConfigurationError

MAX_BODY_BYTES = 8 << 20  # a prompt of a million tokens fits
CONCURRENCY = 512
TIMEOUT = 600.0
GRACE = 30.0
MAX_TOKENS = 8192
EFFORTS = ("fast", "thorough")
ON_CHANGE = ("raise", "keep_original", "warn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of `promptlathe.serve.create_app`, which says what they mean; checked when made."""

    model: str | None = None
    simulated: bool = False
    upstream: str | None = None
    allow_http: bool = False
    api_key_file: Path | None = None
    max_body_bytes: int = MAX_BODY_BYTES
    timeout: float = TIMEOUT
    concurrency: int = CONCURRENCY
    max_tokens: int = MAX_TOKENS
    effort: str = "fast"
    on_variable_change: str = "raise"
    instructions: Path | None = None

    def __post_init__(self) -> None:
        if self.simulated == (self.model is not None):
            raise ConfigurationError("give a model, or simulated=True, and not both")
        if self.model == "":
            raise ConfigurationError("model must not be empty")
        for name in ("max_body_bytes", "concurrency", "max_tokens"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1")
        if not 0 < self.timeout < math.inf:
            raise ConfigurationError("timeout must be a number of seconds above 0")
        if self.effort not in EFFORTS:
            raise ConfigurationError(f"effort must be one of {', '.join(EFFORTS)}")
        if self.on_variable_change not in ON_CHANGE:
            raise ConfigurationError(f"on_variable_change must be one of {', '.join(ON_CHANGE)}")
