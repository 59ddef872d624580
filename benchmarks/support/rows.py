"""The rows of benchmarks/peers.py: what is called in each, and what promptlathe has to reach."""

from __future__ import annotations

from typing import NamedTuple

# What prompts are made of: lines, now and then with a quotation; plain, and with all kinds of letters.
PLAIN = (
    "You are a careful assistant of {{COMPANY}} who reads a customer's letter and drafts the reply.\n"
    'First say in one sentence what the customer asks for, between "<request>" and "</request>".\n'
    "Then name the department that has to answer, and write a short and friendly letter for it;\n"
    "it must promise nothing that the department's own rules do not mention.\n\n"
)
MIXED = PLAIN + (
    "Отвечай на языке письма: по-русски, если клиент пишет по-русски, и так далее — без исключений.\n"
    "Use the customer’s own words where they’re clear; 客户的称呼保持不变 🙂.\n\n"
)
C = "libcurl in C"
TIMES_C, MILLISECONDS, KILOBYTES = "x C", "ms", "KB"


class Target(NamedTuple):
    """What is due, and where it is to go; when it is for several clients, the best of them counts."""

    clients: tuple[str, ...]
    due: float
    aim: float | None = None
    unit: str = TIMES_C
    note: str = ""


class Row(NamedTuple):
    """Calls of one kind."""

    name: str
    calls: int
    quick: int  # calls when there is little time; 0: none
    concurrency: int = 1
    delay: int = 0  # ms from a request to its answer
    answer: int = 2000  # bytes, about
    request: int = 400
    text: str = PLAIN
    server: tuple[str, ...] = ()  # how it is to be, beside its TLS
    tls: bool = False
    free: bool = False  # whether clients may use all CPUs; that in C, of one thread, never does
    targets: tuple[Target, ...] = ()
    ahead: tuple[str, ...] = ()  # clients that have to take less CPU than each peer
    resumed: bool = False  # whether all sessions but the first have to be resumed
    heavy: bool = False  # too much for slow clients when there is little time

    @property
    def task(self) -> str:
        """What is asked."""
        return self.text * max(self.request // len(self.text.encode()), 1)

    @property
    def prompt(self) -> str:
        """What is answered."""
        return self.text * (self.answer // len(self.text.encode()))

    @property
    def http2(self) -> bool:
        return "--http2" in self.server


SYNC, ASYNC = ("promptlathe Client",), ("promptlathe AsyncClient",)
MANY = (*ASYNC, "promptlathe Client.map", "promptlathe AsyncClient.map")
MEMORY = {1000: Target(MANY, 30, 18, KILOBYTES)}  # by calls in flight; each of the clients' own
STREAMS = 100  # that a connection of HTTP/2 carries

ROWS = (
    Row(
        "one after another, 2 KB",
        calls=4000,
        quick=2000,
        targets=(Target(SYNC, 1.5, 1.2),),
        ahead=SYNC,
    ),
    Row(
        "one after another, 2 KB, on all CPUs",
        calls=4000,
        quick=1000,
        free=True,
        targets=(Target(ASYNC, 2.0, 1.5),),
        heavy=True,
    ),
    Row("16 in flight", calls=4000, quick=1600, concurrency=16, delay=5),
    Row(
        "256 in flight",
        calls=5120,
        quick=2560,
        concurrency=256,
        delay=20,
        targets=(Target(MANY, 1.4, 1.25),),
        heavy=True,
    ),
    Row(
        "1,000 in flight",
        calls=10000,
        quick=5000,
        concurrency=1000,
        delay=50,
        targets=(Target(MANY, 1.3, 1.2),),
        ahead=MANY,
        heavy=True,
    ),
    Row(
        "answer of 200 KB",
        calls=500,
        quick=300,
        answer=200_000,
        targets=(Target(SYNC, 2.5, 2.1),),
        heavy=True,
    ),
    Row("answer of 200 KB, mixed", calls=500, quick=0, answer=200_000, text=MIXED),
    Row(
        "answer of 4 MB",
        calls=40,
        quick=20,
        answer=4 << 20,
        targets=(Target(SYNC, 9, 6, MILLISECONDS),),
        heavy=True,
    ),
    Row(
        "request of 1 MB",
        calls=200,
        quick=100,
        request=1 << 20,
        targets=(Target(SYNC, 1.15, 1.05),),
        heavy=True,
    ),
    Row("request of 1 MB, mixed", calls=200, quick=0, request=1 << 20, text=MIXED),
    Row(
        "https, HTTP/1.1",
        calls=4000,
        quick=1000,
        tls=True,
        targets=(Target(SYNC, 1.3, 1.2),),
    ),
    Row(
        "https, HTTP/2",
        calls=4000,
        quick=1000,
        tls=True,
        server=("--http2",),
        targets=(Target(SYNC, 1.2, note="aim: below pyreqwest"),),
    ),
    Row(
        "256 in flight, HTTP/2",
        calls=5120,
        quick=2560,
        concurrency=256,
        delay=20,
        tls=True,
        server=("--http2",),
        targets=(Target(MANY, 1.6, 1.3),),
        heavy=True,
    ),
    Row(
        "new TLS connection, resumed",
        calls=600,
        quick=100,
        tls=True,
        server=("--close",),
        resumed=True,
        targets=(Target(SYNC, 1.1, 0.9),),
    ),
    Row(
        "new TLS connection",
        calls=600,
        quick=100,
        tls=True,
        server=("--close", "--no-tickets"),
        targets=(Target(SYNC, 1.1, 0.9),),
        heavy=True,
    ),
)
