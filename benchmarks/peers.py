"""The same calls by promptlathe, by other clients and by a bare loop of libcurl in C, side by side.

    python benchmarks/peers.py [ROUNDS] [--quick] [--rows WORD ...] [--clients WORD ...]

Each measurement is a process of its own that makes calls with one client, against a server that is
another; they take turns, ROUNDS times (5, the slow ones 2; --quick: 3, the other clients once, the
slow ones without the heavy rows). Each client makes JSON of a dict, calls, and makes a dict of the
answer, with certificates verified and 600 s for a call; the loop in C sends ready-made bytes and
appends what comes to a buffer. Of several calls at once a sync client makes each from a thread of its
own; over HTTP/1.1 the server answers the first when it holds all of them.

CPU is that of the client's process, user and system, of all its threads, per call; the server has the
first CPU, the client the others, but in the row that gives it all. x C is the median of the rounds'
own ratios, as what is close in time has the same machine; by it clients are compared. Memory is how
far the resident size grows, per call in flight. --rows and --clients choose by parts of names.

It exits with 1 when a call failed, promptlathe missed a number that is due (which --quick only tells,
as its figures are too few for that), or opened more connections of HTTP/2 than the streams require. It
needs Linux, a C compiler, OpenSSL and nghttp2. The other clients are the extra `bench` of pyproject,
which is installed into build/bench/venv at the first time.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support import results
from support.bench import Bench, NotMeasured, Seen
from support.building import wanted_peers
from support.clients import CLIENTS, NEVER_END
from support.measuring import describe, spread
from support.rows import MEMORY, ROWS, STREAMS, TIMES_C, C, Row, Target

SLOWER = 5  # times fewer calls of a slow client
SLOW_ROUNDS = 2  # at most: with 1,000 in flight, a call of httpx takes 16 ms
Table = dict[Row, dict[str, list[Seen]]]


# ---- All of them --------------------------------------------------------------------------------


def has(row: Row, name: str) -> bool:
    """Whether the client makes calls in the row's way: one after another, or several at once."""
    return name == C or (CLIENTS[name].one if row.concurrency == 1 else CLIENTS[name].many)


def why_not(row: Row, name: str, quick: bool) -> str:
    """Why the client is left out of the row, or nothing."""
    if name == C:
        return ""
    if row.http2 and not CLIENTS[name].http2:
        return "HTTP/1.1 only"
    if (name, row.name) in NEVER_END:
        return "never ends"
    return "slow" if quick and row.heavy and CLIENTS[name].slow else ""


def turns(name: str, rounds: int, quick: bool) -> int:
    """How often the client is measured."""
    if name == C or CLIENTS[name].ours:
        return rounds
    if quick:
        return 1
    return min(rounds, SLOW_ROUNDS) if CLIENTS[name].slow else rounds


def calls_of(row: Row, name: str, quick: bool) -> int:
    calls = row.quick if quick else row.calls
    if name == C or not CLIENTS[name].slow:
        return calls
    return max(calls // SLOWER, min(calls, 2 * row.concurrency))


def measure(bench: Bench, row: Row, name: str, quick: bool) -> list[Seen]:
    """One measurement; none when the client, one of the others, did not do it."""
    try:
        return [bench.measure(row, name, calls_of(row, name, quick))]
    except NotMeasured as error:
        if name == C or CLIENTS[name].ours:
            raise
        print(f"NOT MEASURED: {error}")
        return []


def measure_all(bench: Bench, rows: list[Row], names: list[str], rounds: int, quick: bool) -> Table:
    table: Table = {row: {} for row in rows}
    for number in range(rounds):
        for row in rows:
            for name in names:
                if number >= turns(name, rounds, quick) or why_not(row, name, quick):
                    continue
                if has(row, name) and (seen := measure(bench, row, name, quick)):
                    table[row].setdefault(name, []).extend(seen)
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return table


# ---- What is due --------------------------------------------------------------------------------


def median(seen: list[Seen], what: str = "cpu") -> float:
    return float(statistics.median(each[what] for each in seen))


def cost(clients: dict[str, list[Seen]], name: str) -> float:
    """A client's CPU: beside that of C in the same rounds, or in seconds when C is not there."""
    values = [each["cpu"] for each in clients[name]]
    if C not in clients:
        return statistics.median(values)
    return results.ratio(values, [each["cpu"] for each in clients[C]])


def reached(target: Target, clients: dict[str, list[Seen]]) -> dict[str, float]:
    """By client, the number that must be no larger than what is due."""
    names = [name for name in target.clients if name in clients]
    if target.unit != TIMES_C:
        return {name: median(clients[name]) * 1e3 for name in names}
    if C not in clients:
        return {}
    return {name: cost(clients, name) for name in names}


def missed(row: Row, clients: dict[str, list[Seen]]) -> Iterator[str]:
    for target in row.targets:
        numbers = reached(target, clients)
        if numbers and min(numbers.values()) > target.due:
            best = min(numbers, key=lambda name: numbers[name])
            yield f"{row.name}: {best} takes {numbers[best]:.2f} {target.unit}; due: {target.due:g}"
    for name in set(row.ahead) & set(clients):
        for peer in set(clients) & set(CLIENTS):
            if not CLIENTS[peer].ours and cost(clients, peer) <= cost(clients, name):
                yield f"{row.name}: {name} takes as much CPU as {peer}"
    if not (memory := MEMORY.get(row.concurrency)):
        return
    for name in set(memory.clients) & set(clients):
        kept = median(clients[name], "memory") / 1000
        if kept > memory.due:
            yield f"{row.name}: {name} keeps {kept:.1f} {memory.unit} per call; due: {memory.due:g}"


def faults_of(row: Row, name: str, seen: list[Seen]) -> Iterator[str]:
    """What is wrong whatever it costs."""
    for each in seen:
        if each["failures"]:
            yield f"{row.name}, {name}: {each['failures']} calls failed: {each['failure']}"
        if not row.http2 and each["most_held"] != row.concurrency:
            yield f"{row.name}, {name}: only {each['most_held']} calls were in flight at once"
        if "--no-tickets" in row.server and each["resumed"]:
            yield f"{row.name}, {name}: {each['resumed']} sessions were resumed"
        if name != C and not CLIENTS[name].ours:
            continue
        if row.resumed and each["resumed"] < each["connections"] - 1:
            yield f"{row.name}, {name}: only {each['resumed']} sessions were resumed"
        if name == C or not row.http2:
            continue
        # The warm-up call of `map` has a connection of its own: a map has an engine to itself.
        most = math.ceil(row.concurrency / STREAMS) + (CLIENTS[name].function == "client_map")
        if each["connections"] > most:
            yield f"{row.name}, {name}: {each['connections']} connections, not {most}"


# ---- The outcome --------------------------------------------------------------------------------


def note_of(row: Row, name: str, seen: list[Seen]) -> str:
    client, held = CLIENTS.get(name), max(each["most_held"] for each in seen)
    if client and client.threads and row.concurrency > 1:
        return f"{row.concurrency} threads"
    if row.resumed and not any(each["resumed"] for each in seen):
        return "resumes none"
    return f"{held} at once" if row.http2 and held <= STREAMS < row.concurrency else ""


def target_of(row: Row, name: str, clients: dict[str, list[Seen]]) -> Target | None:
    """The target for which this client is the one that counts."""
    for target in row.targets:
        numbers = reached(target, clients)
        if numbers and name == min(numbers, key=lambda each: numbers[each]):
            return target
    return None


def to_result(row: Row, name: str, clients: dict[str, list[Seen]]) -> results.Row:
    seen, target = clients[name], target_of(row, name, clients)
    many = row.concurrency > 1
    return results.Row(
        row=row.name,
        client=name,
        values=[each["cpu"] * 1e6 for each in seen],
        memory=[each["memory"] for each in seen] if many else None,
        connections=seen[-1]["connections"] if many else None,
        due=target.due if target else None,
        aim=target.aim if target else None,
        limit_unit=target.unit if target else "",
        note="; ".join(filter(None, [note_of(row, name, seen), target.note if target else ""])),
    )


def to_memory(row: Row, name: str, seen: list[Seen]) -> results.Row:
    memory = MEMORY.get(row.concurrency)
    target = memory if memory and name in memory.clients else None
    return results.Row(
        row=row.name,
        client=name,
        values=[each["memory"] / 1000 for each in seen],
        due=target.due if target else None,
        aim=target.aim if target else None,
        limit_unit=target.unit if target else "",
        note=note_of(row, name, seen),
    )


def save(table: Table) -> None:
    results.save(
        "peers",
        title="CPU of a call",
        unit="µs",
        better="lower",
        baseline=C,
        rows=[to_result(row, name, clients) for row, clients in table.items() for name in clients],
    )
    many = {row: clients for row, clients in table.items() if row.concurrency > 1}
    results.save(
        "peers_memory",
        title="Memory for each call in flight",
        unit="KB",
        better="lower",
        baseline=None,
        rows=[
            to_memory(row, name, seen)
            for row, clients in many.items()
            for name, seen in clients.items()
        ],
    )


def show(row: Row, clients: dict[str, list[Seen]]) -> None:
    print(f"\n{row.name:28} µs of CPU per call: median, range          x C     KB  connections")
    for name, seen in clients.items():
        times = f"{cost(clients, name):7.2f}" if C in clients else ""
        many = row.concurrency > 1
        memory = f"{median(seen, 'memory') / 1000:7.1f}" if many else ""
        connections = f"{seen[-1]['connections']:5}" if many else ""
        cpu = spread([each["cpu"] for each in seen], 1e-6)
        print(f"{name:28} {cpu:38} {times:7} {memory:7} {connections:5} {note_of(row, name, seen)}")


def show_absent(row: Row, clients: dict[str, list[Seen]], names: list[str], quick: bool) -> None:
    """Tell who is left out, and who takes less than the best of promptlathe."""
    reasons = {name: why_not(row, name, quick) for name in names if has(row, name)}
    absent = [f"{name} ({reason})" for name, reason in reasons.items() if reason]
    if absent:
        print("left out:", ", ".join(absent))
    ours = [cost(clients, name) for name in clients if name != C and CLIENTS[name].ours]
    peers = [name for name in clients if name != C and not CLIENTS[name].ours]
    ahead = [name for name in peers if ours and cost(clients, name) < min(ours)]
    print("below promptlathe:", ", ".join(ahead) or "none")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rounds", nargs="?", type=int)
    parser.add_argument("--quick", action="store_true", help="few calls and rounds")
    parser.add_argument("--rows", nargs="*", default=[], help="parts of names")
    parser.add_argument(
        "--clients", nargs="*", default=[], help="parts of names; C is always there"
    )
    options = parser.parse_args()
    rows = [
        row
        for row in ROWS
        if any(word in row.name for word in options.rows or [""])
        and (row.quick or not options.quick)
    ]
    names = [name for name in CLIENTS if any(word in name for word in options.clients or [""])]
    describe()
    print("beside", *wanted_peers(), flush=True)
    rounds = options.rounds or (3 if options.quick else 5)
    with tempfile.TemporaryDirectory() as folder:
        table = measure_all(Bench.make(Path(folder)), rows, [C, *names], rounds, options.quick)
    faults: list[str] = []
    misses: list[str] = []
    for row, clients in table.items():
        show(row, clients)
        show_absent(row, clients, names, options.quick)
        misses += missed(row, clients)
        for name, seen in clients.items():
            faults += faults_of(row, name, seen)
    save(table)
    for text in faults:
        print(f"NOT AS PROMISED: {text}")
    for text in misses:
        print(f"MISSED: {text}")
    return bool(faults or (misses and not options.quick))


if __name__ == "__main__":
    sys.exit(main())
