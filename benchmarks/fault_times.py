"""How far beyond its limit each call of the fault matrix ends that its time is over for.

Every such row of docs/faults.md is run several times, by its own test: against silence, dripping,
stalled handshakes, windows that stay shut. The promise is the deadline plus 100 ms (the tests allow a
second); ends with 1 when a row is later than that, by the median or, on a machine that has nothing else
to do, by the worst of its runs.

The servers run in threads of the same process, so a busy machine shows in the largest figures.
"""

from __future__ import annotations

import collections
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from support.measuring import describe, is_quiet

ROOT = Path(__file__).resolve().parents[1]
PROMISE = 0.1  # seconds

Row = tuple[str, str, str]  # layer, name, limit


def run(rounds: int) -> dict[Row, list[float]]:
    """Seconds beyond the limit, for each row."""
    late: dict[Row, list[float]] = collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "times"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header"]
        command += ["--fault-late", f"--fault-times={file}", ROOT / "tests/python/faults"]
        for _ in range(rounds):
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stdout + done.stderr)
        for line in file.read_text(encoding="utf-8").splitlines():
            layer, name, limit, seconds = json.loads(line)
            late[layer, name, limit].append(seconds)
    return late


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    describe()
    print(f"ms beyond the limit, of {rounds} runs; promised: {PROMISE * 1e3:.0f}")
    print(f"{'':62} {'limit':24} median  worst")
    late = run(rounds)
    for (layer, name, limit), values in late.items():
        median, worst = statistics.median(values) * 1e3, max(values) * 1e3
        print(f"{layer + ': ' + name:62} {limit:24} {median:6.1f} {worst:6.1f}")
    quiet = is_quiet()
    judge = max if quiet else statistics.median
    over = [row for row, values in late.items() if judge(values) > PROMISE]
    print(f"{len(late)} rows; over {PROMISE * 1e3:.0f} ms by the {'worst' if quiet else 'median'}:")
    print(*(over or ["none"]), sep="\n")
    return int(bool(over) or not late)


if __name__ == "__main__":
    sys.exit(main())
