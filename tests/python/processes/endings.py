"""Programs that end while clients live: ``python -m processes.endings NAME ORDERS``."""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import threading
import time
from typing import Any

import promptlathe

from processes.children import (
    TASK,
    Call,
    Orders,
    Subject,
    enter,
    hear,
    prepare,
    quiet,
    say,
    text_of,
)


def anywhere(orders: Orders) -> None:
    """End in some way with the calls of daemon threads where they are."""
    enter(orders)
    way = orders["way"]
    if way == "sys.exit":
        sys.exit(3)
    if way == "os._exit":
        os._exit(3)
    if way == "exception":
        sys.excepthook = quiet
        raise RuntimeError("the end")
    if way == "SIGTERM":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)


def exit_in_a_thread(orders: Orders) -> None:
    """sys.exit in a thread ends that thread alone."""
    subject, _ = enter(orders)
    thread = threading.Thread(target=sys.exit, args=[5])
    thread.start()
    thread.join()
    say(subject.call("after"))


def waits_for_threads(orders: Orders) -> None:
    """Threads that are no daemons end their calls first; the test lets them."""
    _, calls = enter(orders, daemon=False)
    atexit.register(lambda: say([call.result for call in calls]))


def interrupted(orders: Orders) -> None:
    """Ctrl-C while the main thread waits for the others at its end."""
    enter(orders, daemon=False)
    main = threading.main_thread().ident
    pause = threading.Event()

    def interrupt() -> None:
        # Nothing tells when the main thread has come there: look again and again.
        while sys._current_frames()[main].f_code.co_name != "_shutdown":  # type: ignore[index]
            pause.wait(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    sys.unraisablehook = quiet  # Python tells of the interrupt
    atexit.register(say, "at exit")


def handlers(orders: Orders) -> None:
    """Handlers of the end, the last registered first: one calls, one closes, one sees it."""
    subject, calls = enter(orders)
    other = Subject(orders)

    def call() -> None:
        say([subject.call("own"), other.call("other"), text_of(promptlathe.generate(TASK))])

    atexit.register(lambda: say([subject.call("closed"), [call.end() for call in calls]]))
    atexit.register(subject.close)
    atexit.register(call)


KEPT: list[Any] = []
LOCAL = threading.local()


def keeping(orders: Orders) -> None:
    """Clients that only the end of the interpreter takes away: in every place there is."""
    subject, calls = enter(orders)
    KEPT.append((subject, calls))
    LOCAL.subject = Subject(orders)
    cycle: dict[str, Any] = {"subject": Subject(orders)}
    cycle["me"] = cycle
    promptlathe.kept = Subject(orders)  # type: ignore[attr-defined]
    subjects = [LOCAL.subject, cycle["subject"], promptlathe.kept]  # type: ignore[attr-defined]
    texts = [each.call(f"kept {n}") for n, each in enumerate(subjects)]
    copies = [subject.client.with_raw_response, subject.client.with_options(timeout=3)]
    KEPT.append((copies, subject.client.generate))
    say([*texts, text_of(promptlathe.generate(TASK))])
    hear()


def calling_late(orders: Orders) -> None:
    """A destructor that calls when the modules are taken away."""
    subject, _ = enter(orders)

    class Late:
        def __init__(self) -> None:
            self.client, self.write, self.text_of = subject.client, os.write, text_of

        def __del__(self) -> None:
            response = self.client.generate("late", extra_headers={"x-mark": "late"})
            self.write(1, b'"' + self.text_of(response).encode() + b'"\n')

    KEPT.append(Late())


def raced(orders: Orders) -> None:
    """Daemon threads begin and end calls without rest while the interpreter goes away."""
    subject = Subject(orders)
    busy = threading.Semaphore(0)

    def work(number: int) -> None:
        while True:
            subject.call(f"thread {number}")
            busy.release()

    for number in range(orders["threads"]):
        threading.Thread(target=work, args=[number], daemon=True).start()
    for _ in range(4 * orders["threads"]):
        busy.acquire()
    KEPT.append(Call(subject, "held 0"))


if __name__ == "__main__":
    prepare()
    globals()[sys.argv[1]](json.loads(sys.argv[2]))
