"""CPU per call of 64 threads on one client, against a client for each thread, and one thread alone.

All three are measured in turn in one run, against a service in another process. The aim is a ratio of
no more than 1 between the first two.
"""

from __future__ import annotations

import statistics
import sys
import threading
from collections.abc import Callable

from promptlathe import Client
from support.measuring import cpu_of, describe, side_by_side, spread

THREADS = 64
CALLS = 20


def run(clients: list[Client], calls: int) -> None:
    """One thread for each of the clients, which may all be the same one."""
    gate = threading.Barrier(len(clients))

    def work(client: Client) -> None:
        gate.wait()
        for _ in range(calls):
            client.generate("Summarize a letter")

    threads = [threading.Thread(target=work, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    from canned import Canned

    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    with Canned() as server:
        url = server.url("good-2000")
        one = Client("a-key", base_url=url)
        many = [Client("a-key", base_url=url) for _ in range(THREADS)]
        works: dict[str, Callable[[], float]] = {
            "64 threads on one client": lambda: cpu_of(lambda: run([one] * THREADS, CALLS)),
            "64 threads, a client each": lambda: cpu_of(lambda: run(many, CALLS)),
            "one thread": lambda: cpu_of(lambda: run([one], THREADS * CALLS)),
        }
        measured = side_by_side(works, rounds)
        for client in [one, *many]:
            client.close()
    describe()
    print(f"{'':28} CPU in µs per call, median of {rounds} runs of {THREADS * CALLS} calls")
    for name, values in measured.items():
        print(f"{name:28} {spread([v / THREADS / CALLS for v in values], 1e-6)}")
    shared, apart = (statistics.median(values) for values in list(measured.values())[:2])
    print(f"one client against a client each: {shared / apart:.2f}")


if __name__ == "__main__":
    main()
