"""How much of a service's quota a run of Client.map reaches, and how many of its calls are refused.

    python benchmarks/pacing.py [--calls N] [--quota CALLS_PER_MINUTE] [--minute SECONDS]
                                [--concurrency N] [--at-once RUNS] [--only WORD ...]

The service is simulated, in a process of its own: a quota of requests and one of tokens per minute,
each a fixed window or a bucket that is refilled; one of the two is scarce, the other is plenty. The
calls come from one process, or from four that know nothing of each other and share the number of
calls and the concurrency. See tests/python/quota_server.py for what could have been used.

A run waits most of the time: with the numbers by default it takes 75 to 150 seconds. It exits with
1 when a run from one process reached less than 90 % of the quota or had 1 % of its calls refused, or
one from four less than 80 % or 5 %.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from concurrent.futures import ThreadPoolExecutor

from support.measuring import describe


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--quota", type=int, default=900, help="calls per minute")
    parser.add_argument("--minute", type=float, default=60.0, help="its seconds")
    parser.add_argument("--seed", type=int, default=1, help="of what the calls cost")
    parser.add_argument("--at-once", type=int, default=2, help="runs side by side")
    parser.add_argument("--only", nargs="*", default=[], help="runs whose names hold all of these")
    options = parser.parse_args()
    from quota_run import Plan, run

    sizes = {name: getattr(options, name) for name in ("calls", "concurrency", "quota", "minute")}
    plans = [
        Plan(processes, kind, scarce, seed=options.seed, **sizes)
        for processes, kind, scarce in itertools.product(
            (1, 4), ("window", "bucket"), ("requests", "tokens")
        )
    ]
    chosen = [plan for plan in plans if all(word in str(plan) for word in options.only)]
    describe()
    print(f"{options.calls} calls, {options.quota} in {options.minute:g} s allowed")
    print(f"{'':32}   share  refused  failed  seconds")
    good = True
    with ThreadPoolExecutor(options.at_once) as pool:
        for one in pool.map(run, chosen):
            good = good and one.good
            print(
                f"{one.plan!s:32} {one.share:7.1%} {one.refused:8.2%} {one.failed:7} "
                f"{one.seconds:8.0f}{'' if one.good else '   missed'}",
                flush=True,
            )
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
