"""What is told of one request, to the log and to the metrics."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Scope

from promptlathe.server import handler

KEY = "promptlathe.record"  # where a request's scope holds its record
GONE = 499  # for requests whose caller left before the answer, as proxies write it
PATHS = frozenset((*handler.ENDPOINTS, "/healthz", "/metrics"))
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"))
_ID = re.compile(r"[!-~]{1,200}")


def _new_id() -> str:
    return f"req_{os.urandom(12).hex()}"


@dataclass(slots=True)
class Record:
    """One request. What callers and upstreams wrote has no place in it but their request's id."""

    method: str
    path: str
    request_id: str = field(default_factory=_new_id)
    began: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0
    status: int = GONE
    error: str | None = None
    fault: str | None = None
    attempts: int = 0
    upstream_request_id: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    @classmethod
    def of(cls, scope: Scope) -> Record:
        """Begin the record of a request; method and path only when they are known ones."""
        method, path = scope["method"], path_of(scope)
        return cls(method if method in _METHODS else "other", path if path in PATHS else "other")

    def end(self) -> None:
        """Note how long it took."""
        self.seconds = time.perf_counter() - self.began

    def note_upstream(self, request_id: str | None, attempts: int) -> None:
        """Note an exchange with the upstream, and whether its id can be shown."""
        self.attempts = attempts
        if request_id is not None and _ID.fullmatch(request_id):
            self.upstream_request_id = request_id

    def note_usage(self, usage: object) -> None:
        """Note the tokens of an answer; what is no number of tokens is left aside."""
        entries = usage if isinstance(usage, list) else [usage]
        self.input_tokens = _sum(entries, "input_tokens")
        self.output_tokens = _sum(entries, "output_tokens")


def path_of(scope: Scope) -> str:
    """Return the path of a request below where the application is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "").rstrip("/"))


def _sum(entries: list[Any], name: str) -> int | None:
    found = [entry.get(name) for entry in entries if isinstance(entry, dict)]
    counts = [count for count in found if type(count) is int and count >= 0]
    return sum(counts) if counts else None
