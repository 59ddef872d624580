"""What the benchmarks share: CPU of code and of processes, and medians of runs in turn."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

QUIET = 0.75  # processes that are ready to run, for each CPU

# For the server of ready-made answers, which the tests have too.
sys.path.append(str(Path(__file__).resolve().parents[2] / "tests/python"))


def cpu_of(work: Callable[[], Any]) -> float:
    """Seconds of CPU of this process, all threads and the kernel's share, that the work took."""
    began = time.process_time()
    work()
    return time.process_time() - began


def cpu_of_process(
    arguments: Sequence[str | Path], environment: Mapping[str, str] | None = None
) -> float:
    """Seconds of CPU of a process from its start to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def side_by_side(works: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure each in turn, again and again, so that what else the machine does hits all alike."""
    measured: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(rounds):
        for name, work in works.items():
            measured[name].append(work())
    return measured


def spread(values: list[float], unit: float) -> str:
    """The median, the smallest and the largest."""
    scaled = sorted(value / unit for value in values)
    return f"{statistics.median(scaled):9.2f}   ({scaled[0]:.2f} to {scaled[-1]:.2f})"


def is_quiet() -> bool:
    """Whether the machine has hardly anything else to do, so that the worst of some times counts."""
    return os.getloadavg()[0] < QUIET * (os.cpu_count() or 1)


def describe() -> None:
    """Print what the figures depend on."""
    import promptlathe

    print(
        f"promptlathe {promptlathe.__version__}, Python {sys.version.split()[0]}, "
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    )
