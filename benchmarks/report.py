"""What the other benchmarks have found, as Markdown tables and a plot: build/bench/results/report.*.

    python benchmarks/report.py [--quick]

It reads build/bench/results/*.json. Each figure is a median with its range. It exits with 1 when a
figure misses what is due; with --quick, whose few rounds say less, it only tells.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence

from support.building import SUPPORT, make_environment
from support.results import RESULTS, Row, Table, load_all

SECONDS = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}  # units that can be turned into each other

Cells = Sequence[str]


# ---- Figures ------------------------------------------------------------------------------------


def number(value: float) -> str:
    """Three digits that count, and thousands with their comma."""
    size = abs(value)
    return f"{value:,.{0 if size >= 100 else 1 if size >= 10 else 2}f}"


def limited(table: Table, row: Row) -> float:
    """The row's median in the unit of its limits."""
    if row.limit_unit == "x C":
        ratio = table.ratio(row)
        if ratio is None:
            raise ValueError(
                f"{table.title}: {row.row} has limits by {table.baseline}, who has none"
            )
        return ratio
    if row.limit_unit in SECONDS and table.unit in SECONDS:
        return row.median * SECONDS[table.unit] / SECONDS[row.limit_unit]
    if row.limit_unit != table.unit:
        raise ValueError(f"{table.title}: {row.row} is in {table.unit}, not in {row.limit_unit}")
    return row.median


def verdict(table: Table, row: Row) -> str:
    """Where the figure is by what is due and aimed at."""
    value = limited(table, row)
    sign = -1 if table.better == "higher" else 1
    if row.due is not None and sign * value > sign * row.due:
        return "**missed**"
    if row.aim is None or sign * value > sign * row.aim:
        return "due"
    return "aim"


# ---- Markdown -----------------------------------------------------------------------------------


def markdown(head: Cells, lines: Iterable[Cells]) -> str:
    """A table; a column in which nothing stands is left out."""
    lines = list(lines)
    kept = [i for i, _ in enumerate(head) if any(line[i] for line in lines)]
    texts = ["---" if i < 2 else "--:" for i in range(len(head))]
    return "\n".join(
        "| " + " | ".join(line[i] for i in kept) + " |" for line in [head, texts, *lines]
    )


def limit_lines(table: Table) -> list[Cells]:
    lines = []
    for row in table.rows:
        if row.due is None and row.aim is None:
            continue
        unit = row.limit_unit.replace("x C", f"× {table.baseline}")
        due, aim = ("" if limit is None else f"{limit:g}" for limit in (row.due, row.aim))
        value = number(limited(table, row))
        lines.append((row.row, row.client, value, due, aim, unit, verdict(table, row)))
    return lines


def table_lines(table: Table) -> list[Cells]:
    lines, last = [], ""
    for row in table.rows:
        ratio = table.ratio(row)
        lines.append(
            (
                "" if row.row == last else row.row,
                f"**{row.client}**" if table.is_best(row) else row.client,
                number(row.median),
                f"{number(min(row.values))} to {number(max(row.values))}",
                "" if ratio is None else number(ratio),
                number(statistics.median(row.memory) / 1000) if row.memory else "",
                "" if row.connections is None else str(row.connections),
                row.note,
            )
        )
        last = row.row
    return lines


def part(table: Table) -> str:
    head = ("", "", table.unit, "range", f"× {table.baseline}", "KB each", "connections", "")
    return f"## {table.title}\n\n{markdown(head, table_lines(table))}\n"


def told_once(systems: Iterable[dict[str, str]]) -> str:
    """The systems in words, each once; the load of a machine is no part of it."""
    texts = [
        ", ".join(f"{name} {value}" for name, value in system.items() if name != "load")
        for system in systems
    ]
    return "\n".join(dict.fromkeys(texts))


def report(tables: Sequence[Table], quick: bool) -> str:
    head = ("row", "client", "figure", "due", "aim", "unit", "met")
    limits = [line for table in tables for line in limit_lines(table)]
    loads = [float(table.system["load"]) for table in tables]
    rounds = "few rounds (--quick), " if quick else ""
    parts = [
        "# Benchmarks",
        f"{told_once(table.system for table in tables)}; load {min(loads)} to {max(loads)}",
        f"Medians, {rounds}with the smallest and the largest; bold is the best of its row.",
        f"## What is due, and aimed at\n\n{markdown(head, limits)}",
        *map(part, tables),
        "![all of it](report.svg)",
    ]
    return "\n\n".join(parts) + "\n"


def draw_plot() -> None:
    """In the environment that has matplotlib."""
    subprocess.run([make_environment(), "-m", "support.plot"], cwd=SUPPORT.parent, check=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="tell what is missed, but exit with 0")
    arguments = parser.parse_args()
    tables = load_all()
    if not tables:
        print(f"there are no results in {RESULTS}: run ./dev bench, or one of benchmarks/*.py")
        return 1
    text = report(tables, arguments.quick)
    path = RESULTS / "report.md"
    path.write_text(text, encoding="utf-8")
    draw_plot()
    print(text)
    missed = text.count("**missed**")
    print(f"written: {path}, with a plot; {missed} rows miss what is due")
    return int(missed > 0 and not arguments.quick)


if __name__ == "__main__":
    sys.exit(main())
