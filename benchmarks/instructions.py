"""User instructions of a sequential call with a 2 KB answer, against a bare libcurl loop in C.

    python benchmarks/instructions.py [--check | --write]

Both are counted by valgrind's callgrind, call after call in rounds, against a server that is another
process and answers when the client is waiting already: neither the clock nor the machine's load has
a part in the figures, and what is done once comes before the rounds that count.

benchmarks/instructions.json holds the ratio. With --check, which .ci/run does, the end is 1 when the
ratio has grown by more than 5 % since; --write puts down the new one. It needs valgrind and a C
compiler.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path

from support import results
from support.building import ROOT, SUPPORT, make_program
from support.callgrind import Place, count
from support.measuring import describe, spread

RECORD = Path(__file__).with_suffix(".json")
CALLS, ROUNDS = 20, 8
MARGIN = 0.05
WRITE = "./dev instructions --write"
LAYERS = {"core": "/csrc/core/", "binding": "/csrc/binding/"}  # by a part of the source's path
LIBRARIES = {  # by a part of the library's name
    "libcurl": "libcurl",
    "libc": "libc.so",
    "Python": "python",
    "core and binding": "_core.",  # of an extension without debug information
}
BASE, OURS, ALL = "libcurl in C", "promptlathe", "all layers"

Profile = Counter[Place]


def measure() -> dict[str, list[Profile]]:
    """By client, rounds of CALLS calls; the C loop makes all the calls in one."""
    from canned import Canned

    with Canned() as server, tempfile.NamedTemporaryFile("w") as body:
        url = server.url("late-2000")
        json.dump({"task": "Summarize a letter"}, body)
        body.flush()
        path = f"{url}/v1/experimental/generate_prompt"
        loop = [make_program("loop"), path, body.name, str(CALLS * ROUNDS), "1"]
        ours = [sys.executable, "-s", SUPPORT / "sequential.py", url, str(CALLS), str(ROUNDS + 1)]
        return {BASE: count(loop, 1), OURS: count(ours, ROUNDS + 1)[1:]}


# ---- What it has shown --------------------------------------------------------------------------


def layer(place: Place) -> str:
    for name, part in LAYERS.items():
        if part in place.source:
            return name
    library = place.library.rpartition("/")[2]
    return next((name for name, part in LIBRARIES.items() if part in library), "other")


def layers(profile: Profile, calls: int) -> dict[str, float]:
    """What each layer takes of a call, the greatest first, after what all take."""
    sums: Counter[str] = Counter()
    for place, instructions in profile.items():
        sums[layer(place)] += instructions
    return {ALL: profile.total() / calls} | {
        name: amount / calls for name, amount in sums.most_common()
    }


def table(measured: dict[str, list[Profile]]) -> list[results.Row]:
    """By layer and client, instructions of a call in each round."""
    rounds = {
        client: [layers(profile, CALLS * ROUNDS // len(profiles)) for profile in profiles]
        for client, profiles in measured.items()
    }
    return [
        results.Row(name, client, [each.get(name, 0.0) for each in found])
        for name in rounds[OURS][0]
        for client, found in rounds.items()
        if name in found[0]
    ]


def judge(ratio: float, recorded: float) -> tuple[bool, str]:
    """Whether the ratio is no worse than recorded, and what there is to say and do."""
    change = f"{ratio:.3f} × C, and {RECORD.name} says {recorded:.3f}"
    if ratio > recorded * (1 + MARGIN):
        return False, (
            f"a call takes more instructions than it did: {change}. Find what made it grow (the "
            f"layers above, callgrind_annotate) and undo it; or, when it is worth that, write the "
            f"new ratio by `{WRITE}` and say why in the commit"
        )
    if ratio < recorded * (1 - MARGIN):
        return True, (
            f"a call takes fewer instructions than it did: {change}. Keep it so: write the new ratio "
            f"by `{WRITE}`"
        )
    return True, f"no change to speak of: {change}"


def system() -> str:
    return f"Python {platform.python_version()}, libcurl {results.libcurl()}, {platform.machine()}"


def write(medians: dict[str, float], ratio: float) -> None:
    record = {
        "what": "user instructions of a sequential call with a 2 KB answer, against libcurl in C",
        "ratio": round(ratio, 3),
        "instructions": {name: round(value) for name, value in medians.items()},
        "system": system(),
    }
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"written: {RECORD.relative_to(ROOT)}")


def main() -> int:
    parser = argparse.ArgumentParser()
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--check", action="store_true", help="fail when the ratio has grown")
    choice.add_argument("--write", action="store_true", help="put down the ratio")
    choice.add_argument("--quick", action="store_true", help="no other than without: it is quick")
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("not counted, since valgrind is not installed")
        return 1
    describe()
    rows = table(measure())
    title = "User instructions of a call, one after another, 2 KB answer"
    results.save(
        "instructions", title=title, unit="instructions", better="lower", baseline=BASE, rows=rows
    )
    for row in rows:
        print(f"{row.row:10} {row.client:14} {spread(row.values, 1)}")
    medians = {row.client: statistics.median(row.values) for row in rows if row.row == ALL}
    ratio = medians[OURS] / medians[BASE]
    if arguments.write:
        write(medians, ratio)
        return 0
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    good, message = judge(ratio, record["ratio"])
    print(message)
    if record["system"] != system():
        print(f"{RECORD.name} was written with {record['system']}; here is {system()}")
    return int(arguments.check and not good)


if __name__ == "__main__":
    sys.exit(main())
