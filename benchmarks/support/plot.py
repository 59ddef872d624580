"""Plots all results, a panel for each part: build/bench/results/report.svg, and a PNG beside it.

    cd benchmarks; python -m support.plot

It runs in the environment of the other clients, which has matplotlib.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter
from support.results import RESULTS, Row, Table, load_all

MOST_LINES = 16  # in a panel; a larger table has one for each first word of its rows
WIDTH, LINE, FRAME, COLUMNS = 17.0, 0.13, 1.1, 2  # inches
OURS, BASELINE = "#c1121f", "black"
OUR_NAMES = ("promptlathe", "Client", "AsyncClient")
OTHERS = ("#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#17becf", "#8c564b", "#e377c2", "#7f7f7f")
OTHER_MARKS = "osv^DPX<>"
OUR_MARKS = "*dHp8"


def panels(table: Table) -> Iterator[Table]:
    """The table, or what it has for each first word of its rows, without that word."""
    lines = dict.fromkeys(row.row for row in table.rows)
    if len(lines) <= MOST_LINES:
        yield table
        return
    for head in dict.fromkeys(name.partition(", ")[0] for name in lines):
        rows = [
            replace(row, row=row.row.removeprefix(f"{head}, "))
            for row in table.rows
            if row.row.partition(", ")[0] == head
        ]
        yield replace(table, title=f"{table.title}: {head}", rows=rows)


def looks(tables: Sequence[Table]) -> dict[str, tuple[str, str]]:
    """Colour and mark of each client, the same in all panels."""
    baselines = {table.baseline for table in tables}
    clients = dict.fromkeys(row.client for table in tables for row in table.rows)
    ours, others = 0, 0
    found = {}
    for client in clients:
        if client.startswith(OUR_NAMES):
            found[client] = (OURS, OUR_MARKS[ours % len(OUR_MARKS)])
            ours += 1
        elif client in baselines:
            found[client] = (BASELINE, "|")
        else:
            mark = OTHER_MARKS[others % len(OTHER_MARKS)]
            found[client] = (OTHERS[others % len(OTHERS)], mark)
            others += 1
    return found


def axis_of(table: Table, rows: Sequence[Row]) -> tuple[str, dict[str, float]]:
    """The axis' name, and by row what one of its units is: the baseline's median, or one."""
    ratios = table.better == "lower" and all(table.ratio(row) is not None for row in rows)
    if not ratios:
        better = "more" if table.better == "higher" else "less"
        return f"{table.unit} ({better} is better)", {row.row: 1.0 for row in rows}
    units = {row.row: row.median for row in rows if row.client == table.baseline}
    return f"× {table.baseline} (less is better)", units


def draw_row(axes: Axes, place: float, row: Row, unit: float, look: tuple[str, str]) -> None:
    """A client's median, as a mark on the line of its range."""
    colour, mark = look
    known = axes.get_legend_handles_labels()[1]
    axes.hlines(place, min(row.values) / unit, max(row.values) / unit, color=colour, alpha=0.5)
    axes.plot(
        row.median / unit,
        place,
        mark,
        color=colour,
        markersize=9 if colour in (OURS, BASELINE) else 6,
        markeredgewidth=2 if mark == "|" else 1,
        label=None if row.client in known else row.client,
    )


def draw(axes: Axes, table: Table, look: dict[str, tuple[str, str]]) -> None:
    """The clients of each row, one below the other."""
    name, units = axis_of(table, table.rows)
    place, ticks = 0.0, {}
    for line in dict.fromkeys(row.row for row in table.rows):
        rows = [row for row in table.rows if row.row == line]
        axes.axhline(place, color="#bbbbbb", linewidth=0.5)
        ticks[line] = place + (len(rows) + 1) / 2
        for row in rows:
            place += 1
            draw_row(axes, place, row, units[line], look[row.client])
        place += 1
    values = [value / units[row.row] for row in table.rows for value in row.values if value > 0]
    if max(values) > 10 * min(values):
        axes.set_xscale("log")
        wide = max(values) > 1000 * min(values)
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(list(ticks.values()), list(ticks))
    axes.set_ylim(place, 0)
    axes.grid(axis="x", which="both", color="#e4e4e4", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_title(table.title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel(name, fontsize=9)
    axes.tick_params(labelsize=9)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=9, frameon=False)


def height(table: Table) -> float:
    return FRAME + LINE * (len(table.rows) + len({row.row for row in table.rows}))


def main() -> None:
    tables = load_all()
    shown = sorted((panel for table in tables for panel in panels(table)), key=height, reverse=True)
    look = looks(tables)
    heights = [height(table) for table in shown[::COLUMNS]]
    figure, grid = pyplot.subplots(
        len(heights),
        COLUMNS,
        figsize=(WIDTH, sum(heights)),
        gridspec_kw={"height_ratios": heights},
        squeeze=False,
        layout="constrained",
    )
    for axes, table in zip_longest(grid.flat, shown):
        if table:
            draw(axes, table, look)
        else:
            axes.remove()
    for kind in ("svg", "png"):
        figure.savefig(RESULTS / f"report.{kind}", dpi=80)


if __name__ == "__main__":
    main()
