"""How late Ctrl-C and a deadline end a call. Both promise 100 ms; ends with 1 when a median is later.

The service runs in threads of this process, so a busy machine shows in the largest figures.
"""

from __future__ import annotations

import signal
import statistics
import sys
import threading
import time

import promptlathe
from promptlathe.mock import Server
from support.measuring import describe, spread

PROMISE = 0.1  # seconds
TIMEOUT = 0.2  # seconds


def lateness_of_interrupt(client: promptlathe.Client, server: Server) -> float:
    """Seconds from the signal to KeyboardInterrupt while the call waits for its answer."""
    count, sent = len(server.requests) + 1, []
    main = threading.main_thread().ident
    assert main is not None

    def send() -> None:
        server.wait_for_requests(count)
        sent.append(time.monotonic())
        signal.pthread_kill(main, signal.SIGINT)

    server.script([{"until": threading.Event()}])
    thread = threading.Thread(target=send)
    thread.start()
    try:
        client.generate("a proof-reader")
    except KeyboardInterrupt:
        late = time.monotonic() - sent[0]
    thread.join()
    return late


def lateness_of_deadline(client: promptlathe.Client, server: Server) -> float:
    """Seconds beyond the timeout of a call whose answer drips."""
    server.script([{"drip": (1, 0.01)}])
    began = time.monotonic()
    try:
        client.generate("a proof-reader", timeout=TIMEOUT)
    except promptlathe.APITimeoutError:
        return time.monotonic() - began - TIMEOUT
    raise AssertionError("the answer came in time")


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    describe()
    print(f"ms beyond the event: median, smallest and largest of {rounds}; promised: 100")
    with Server() as server, promptlathe.Client("a-key", base_url=server.url) as client:
        measured = {
            "Ctrl-C": [lateness_of_interrupt(client, server) for _ in range(rounds)],
            "deadline": [lateness_of_deadline(client, server) for _ in range(rounds)],
        }
    for name, values in measured.items():
        print(f"{name:10}{spread(values, 1e-3)}")
    return int(any(statistics.median(values) > PROMISE for values in measured.values()))


if __name__ == "__main__":
    sys.exit(main())
