"""What benchmarks write down in build/bench/results, and benchmarks/report.py reads there."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from support.building import BUILD, wanted_peers

RESULTS = BUILD / "results"


@dataclass
class Row:
    """What one client has shown in one row of a table.

    Values are one per round, in the table's unit. `due` and `aim` limit `limit_unit`: "x C" is the
    ratio to the table's baseline, anything else the median.
    """

    row: str
    client: str
    values: list[float]
    memory: list[float] | None = None  # bytes, per call in flight
    connections: int | None = None
    due: float | None = None
    aim: float | None = None
    limit_unit: str = ""
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)


def ratio(values: list[float], base: list[float]) -> float:
    """The median of the rounds' own ratios, of as many rounds as both have.

    What is measured in one round is close in time, so that others on the machine, who may slow it
    down for minutes, slow down both.
    """
    return statistics.median(value / other for value, other in zip(values, base, strict=False))


@dataclass
class Table:
    """What one benchmark has found; `better` is lower or higher, `baseline` a client or None."""

    title: str
    system: dict[str, str]
    unit: str
    better: str
    baseline: str | None
    rows: list[Row]

    def ratio(self, row: Row) -> float | None:
        """To the baseline in the same row."""
        for other in self.rows:
            if (other.row, other.client) == (row.row, self.baseline):
                return ratio(row.values, other.values)
        return None

    def is_best(self, row: Row) -> bool:
        """Whether no other client but the baseline does as well in the row."""
        if row.client == self.baseline:
            return False
        rivals = [
            self._cost(other)
            for other in self.rows
            if other.row == row.row and other.client not in (row.client, self.baseline)
        ]
        return bool(rivals) and self._cost(row) < min(rivals)

    def _cost(self, row: Row) -> float:
        """What is lower for who does better."""
        value = self.ratio(row) or row.median
        return -value if self.better == "higher" else value


def system() -> dict[str, str]:
    """What figures depend on."""
    import promptlathe

    return {
        "promptlathe": promptlathe.__version__,
        "Python": platform.python_version(),
        "libcurl": libcurl(),
        "libc": " ".join(platform.libc_ver()),
        "kernel": f"{platform.system()} {platform.release()}",
        "processor": f"{os.cpu_count()} × {_processor()}",
        "load": f"{os.getloadavg()[0]:.1f}",
        "beside": ", ".join(wanted_peers()),
    }


def libcurl() -> str:
    """The libcurl that promptlathe runs on, with its libraries, in its own words."""
    import promptlathe._core as core

    # Of a library that the extension is linked with; a wheel has its own inside, and shows none of it.
    version = getattr(ctypes.CDLL(core.__file__), "curl_version", None)
    if version is None:
        return "within the extension"
    version.restype = ctypes.c_char_p
    first, *others = version().decode().split()
    told = [word for word in others if word.startswith(("OpenSSL/", "GnuTLS/", "nghttp2/"))]
    return f"{first.partition('/')[2]} ({', '.join(told)})"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def save(
    name: str, *, title: str, unit: str, better: str, baseline: str | None, rows: Iterable[Row]
) -> Path:
    """Write a table, as `load_all` reads it."""
    table = Table(title, system(), unit, better, baseline, list(rows))
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    text = json.dumps(asdict(table), indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def load_all() -> list[Table]:
    """The tables that are there, by their files' names."""
    found = []
    for path in sorted(RESULTS.glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        rows = [Row(**row) for row in data.pop("rows")]
        found.append(Table(**data, rows=rows))
    return found
