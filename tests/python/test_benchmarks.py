"""What the benchmarks judge by: the instruction counter's verdict, and the report's."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def counter(benchmark_path: None) -> ModuleType:
    return importlib.import_module("instructions")


@pytest.fixture
def reporter(benchmark_path: None) -> ModuleType:
    return importlib.import_module("report")


@pytest.fixture
def results(benchmark_path: None) -> ModuleType:
    return importlib.import_module("support.results")


# ---- Instructions -------------------------------------------------------------------------------

PROFILE = """\
events: Ir
summary: 117

ob=/lib/_core.abi3.so
fl=/project/csrc/core/engine.c
fn=lathe_engine_wait
10 5
fi=/project/csrc/core/clock.h
12 2
fe=/project/csrc/core/engine.c
cob=/lib/libcurl.so.4
cfi=???
cfn=curl_multi_socket_action
calls=1 0
12 100
13 3

ob=/lib/libcurl.so.4
fl=???
fn=curl_multi_socket_action
0 107
"""


def test_a_profile_is_counted_by_place_and_each_instruction_once(counter: ModuleType) -> None:
    profile = sys.modules["support.callgrind"].read_profile(PROFILE.splitlines())
    assert profile.total() == 117
    assert counter.layers(profile, 1) == {"all layers": 117, "libcurl": 107, "core": 10}


@pytest.mark.parametrize(
    ("ratio", "good", "words"),
    [
        (1.574, True, "no change"),
        (
            1.576,
            False,
            "more instructions than it did: 1.576 × C, and instructions.json says 1.500",
        ),
        (1.426, True, "no change"),
        (1.424, True, "fewer instructions"),
    ],
)
def test_more_than_5_percent_fails_and_says_what_to_do(
    counter: ModuleType, ratio: float, good: bool, words: str
) -> None:
    found, message = counter.judge(ratio, 1.5)
    assert found is good and words in message
    assert ("./dev instructions --write" in message) is ("no change" not in message)


# ---- The report ---------------------------------------------------------------------------------


def save(results: ModuleType, **limits: Any) -> None:
    rows = [
        results.Row("one call", "libcurl in C", [9.0, 10.0, 30.0]),
        results.Row("one call", "promptlathe", [14.0, 15.0, 16.0], memory=[2000.0], **limits),
        results.Row("one call", "other", [20.0]),
    ]
    results.save(
        "calls", title="Calls", unit="µs", better="lower", baseline="libcurl in C", rows=rows
    )


@pytest.fixture
def folder(
    results: ModuleType, reporter: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(reporter, "RESULTS", tmp_path)
    monkeypatch.setattr(reporter, "draw_plot", lambda: None)
    return tmp_path


@pytest.mark.parametrize(
    ("limits", "cell"),
    [
        ({"due": 1.5, "aim": 1.2, "limit_unit": "x C"}, "due"),
        ({"due": 1.5, "aim": 1.5, "limit_unit": "x C"}, "aim"),
        ({"due": 1.49, "aim": 1.2, "limit_unit": "x C"}, "**missed**"),
        ({"due": 0.015, "aim": 0.01, "limit_unit": "ms"}, "due"),
        ({"due": 14.0, "limit_unit": "µs"}, "**missed**"),
    ],
)
@pytest.mark.parametrize("quick", [False, True])
def test_the_report_fails_for_what_misses_its_due_unless_it_is_quick(
    folder: Path,
    results: ModuleType,
    reporter: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, Any],
    cell: str,
    quick: bool,
) -> None:
    save(results, **limits)
    monkeypatch.setattr(sys, "argv", ["report.py", *["--quick"] * quick])
    assert reporter.main() == int(cell == "**missed**" and not quick)
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert f"| {cell} |" in text
    assert "|  | **promptlathe** | 15.0 | 14.0 to 16.0 | 1.50 | 2.00 |" in text


def test_without_an_aim_none_is_reached(results: ModuleType, reporter: ModuleType) -> None:
    row = results.Row("a call", "promptlathe", [1.0], due=2.0, limit_unit="µs")
    table = results.Table("Calls", {}, "µs", "lower", None, [row])
    assert reporter.verdict(table, row) == "due"


def test_more_is_better_where_it_is(results: ModuleType, reporter: ModuleType) -> None:
    row = results.Row("scan", "promptlathe", [5.0], due=4.0, aim=10.0, limit_unit="GB/s")
    table = results.Table("Scans", {}, "GB/s", "higher", None, [row])
    assert reporter.verdict(table, row) == "due"
    row.values = [3.9]
    assert reporter.verdict(table, row) == "**missed**"
    row.values = [10.0]
    assert reporter.verdict(table, row) == "aim"


def test_a_report_of_nothing_says_what_to_run(
    folder: Path, reporter: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sys, "argv", ["report.py"])
    assert reporter.main() == 1
    assert "./dev bench" in capsys.readouterr().out
