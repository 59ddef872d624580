"""How late Ctrl-C ends the main thread's calls, wherever they are, and a deadline its call.

    python benchmarks/promptness.py [ROUNDS] [WORD ...]

Both promise 100 ms. For Ctrl-C each round is a program of its own that is interrupted when its calls
are in their place, in each way to wait for them: the time is that from the signal to
KeyboardInterrupt, for asyncio as it leaves asyncio.run. The client must then make a good call, or the
round fails. With WORDs only the rows whose names hold all of them are measured. It needs Linux and a
C compiler.

It exits with 1 when a row is later than that, by the worst of its rounds or, on a machine that has
something else to do, by the median.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from support.measuring import describe, is_quiet, spread

# isort: split
# Of the tests, whose folder measuring.py makes known.
import promptlathe
from faults.conftest import build_library
from faults.tls import Authority
from processes.conftest import Program, make_environment
from processes.ctrl_c import WAYS, interrupt
from processes.stages import PLACES, BehindGate, Stage
from promptlathe.mock import Server

PROMISE = 0.1  # seconds
TIMEOUT = 0.2  # seconds
MANY = 1000

Row = tuple[str, Callable[[], float]]

STAGES: dict[str, Callable[[Authority], Stage]] = {
    "resolve": PLACES["resolve"],
    "connect": PLACES["connect"],
    "TLS handshake": PLACES["handshake"],
    "wait": PLACES["wait"],
    "body": PLACES["body"],
    "back-off": PLACES["back-off"],
    "queue behind a closed gate": BehindGate,
    f"wait of {MANY}": partial(Stage, calls=MANY),
}


class Interrupts:
    """What the programs need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder, "authority")
        self.environment = make_environment(build_library(folder, "lookup"), folder)

    def lateness(self, place: str, way: str) -> float:
        """Seconds from the signal to KeyboardInterrupt."""
        with (
            STAGES[place](self.authority) as stage,
            open(self.folder / "errors", "w+b") as errors,
        ):
            environment = self.environment | {"LOOKUPS_THAT_HANG": str(int(stage.lookup))}
            orders = {**stage.orders, "way": way}
            program = Program("ctrl_c.main", orders, environment, errors, ())
            try:
                took = interrupt(program, stage)
                program.end()
            finally:
                program.free()
        return took

    def rows(self) -> Iterator[Row]:
        for place in STAGES:
            for way in WAYS:
                if way != "sync" or str(MANY) not in place:
                    yield f"Ctrl-C: {place}, {way}", partial(self.lateness, place, way)


def lateness_of_deadline() -> float:
    """Seconds beyond the timeout of a call whose answer drips."""
    with Server() as server, promptlathe.Client("a-key", base_url=server.url) as client:
        server.script([{"drip": (1, 0.01)}])
        began = time.monotonic()
        try:
            client.generate("a proof-reader", timeout=TIMEOUT)
        except promptlathe.APITimeoutError:
            return time.monotonic() - began - TIMEOUT
    raise AssertionError("the answer came in time")


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # also for the programs
    describe()
    print(f"ms beyond the event: median, smallest and largest of {rounds}; promised: 100")
    late = False
    with tempfile.TemporaryDirectory() as folder:
        rows = [*Interrupts(Path(folder)).rows(), ("deadline", lateness_of_deadline)]
        for name, measure in rows:
            if not all(word in name for word in sys.argv[2:]):
                continue
            values = [measure() for _ in range(rounds)]
            judge = max if is_quiet() else statistics.median
            over = judge(values) > PROMISE
            late = late or over
            print(f"{name:45}{spread(values, 1e-3)}{'   late' if over else ''}", flush=True)
    return int(late)


if __name__ == "__main__":
    sys.exit(main())
