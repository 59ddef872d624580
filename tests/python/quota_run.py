"""Runs of many calls from one or several processes against a server with a quota.

The processes are made of this file, and know nothing of each other.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from quota_server import QuotaServer

COST = 1000 * 1.3771  # tokens that a call costs in the mean, as the server rolls its dice


@dataclass(frozen=True)
class Plan:
    """What is run; `quota` is in calls per minute, also where tokens are what is scarce."""

    processes: int
    kind: str  # "window" or "bucket"
    scarce: str  # "requests" or "tokens"
    calls: int = 2000
    concurrency: int = 64  # of all processes together
    quota: int = 900
    minute: float = 60.0  # its seconds
    seed: int = 1

    def __str__(self) -> str:
        many = "es" if self.processes > 1 else ""
        return f"{self.processes} process{many}, {self.kind} of {self.scarce}"

    @property
    def server(self) -> dict[str, Any]:
        """The options of the server."""
        plenty = 4 * self.quota
        tokens = self.scarce == "tokens"
        return {
            "kind": self.kind,
            "requests": plenty if tokens else self.quota,
            "tokens": round((self.quota if tokens else plenty) * COST),
            "minute": self.minute,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Outcome:
    """What came of a plan."""

    plan: Plan
    share: float  # of what the quota allowed from the first request to the last answer
    refused: float  # answers of 429, of the calls
    failed: int  # calls that were refused too often
    served: int
    seconds: float

    @property
    def good(self) -> bool:
        """Whether it is what is promised."""
        share, refused = (0.9, 0.01) if self.plan.processes == 1 else (0.8, 0.05)
        answered = self.served + self.failed == self.plan.calls
        return answered and self.share >= share and self.refused < refused


def run(plan: Plan) -> Outcome:
    """Make all calls of the plan."""
    each = [str(plan.calls // plan.processes), str(plan.concurrency // plan.processes)]
    with QuotaServer(**plan.server) as server:
        began = time.monotonic()
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, server.url, *each], stdout=subprocess.PIPE, text=True
            )
            for _ in range(plan.processes)
        ]
        failed = [process.communicate()[0] for process in processes]
        seconds = time.monotonic() - began
        stats = server.stats()
    share = max(stats[kind]["used"] / stats[kind]["available"] for kind in ("requests", "tokens"))
    refused = stats["refused"] / plan.calls
    return Outcome(plan, share, refused, sum(map(int, failed)), stats["served"], seconds)


def main() -> None:
    """Make calls as one of the processes, and print how many of them were refused for good."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("calls", type=int)
    parser.add_argument("concurrency", type=int)
    options = parser.parse_args()
    from promptlathe import Client, RateLimitError

    requests = ({"verb": "generate", "task": str(number)} for number in range(options.calls))
    failed = 0
    with Client("a-key", base_url=options.url) as client:
        results = client.map(
            requests, concurrency=options.concurrency, ordered=False, return_exceptions=True
        )
        for _, result in results:
            if isinstance(result, Exception):
                if not isinstance(result, RateLimitError):
                    raise result
                failed += 1
    print(failed)


if __name__ == "__main__":
    main()
