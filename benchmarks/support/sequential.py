"""Calls one after another in rounds, for tools that watch the process: callgrind and perf.

    python benchmarks/support/sequential.py URL CALLS ROUNDS

Before and after each round of CALLS it calls getrusage, as loop.c does: a mark that tools can see.
"""

import sys
from resource import RUSAGE_SELF, getrusage

from promptlathe import Client


def main() -> None:
    url, calls, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with Client("a-key", base_url=url) as client:
        getrusage(RUSAGE_SELF)
        for _ in range(rounds):
            for _ in range(calls):
                client.generate("Summarize a letter")
            getrusage(RUSAGE_SELF)


if __name__ == "__main__":
    main()
