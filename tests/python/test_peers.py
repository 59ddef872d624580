"""What benchmarks/peers.py judges by."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest

Seen = dict[str, Any]
OURS = "promptlathe Client", "promptlathe AsyncClient"


@pytest.fixture
def peers(benchmark_path: None) -> ModuleType:
    return importlib.import_module("peers")


def seen(*cpu: float, **others: Any) -> list[Seen]:
    usual = {"memory": 1000, "failures": 0, "failure": "", "most_held": 1, "connections": 1}
    usual["resumed"] = 0
    return [{"cpu": each * 1e-6} | usual | others for each in cpu]


def row_of(peers: ModuleType, **fields: Any) -> Any:
    return peers.Row("a row", calls=1, quick=1, **fields)


def test_the_median_of_the_rounds_ratios_counts(peers: ModuleType) -> None:
    row = row_of(peers, targets=(peers.Target(OURS[:1], 1.5),))
    good = {peers.C: seen(10, 90, 10), OURS[0]: seen(15, 99, 80)}
    assert not list(peers.missed(row, good))
    assert list(peers.missed(row, good | {OURS[0]: seen(16, 99, 80)})) == [
        "a row: promptlathe Client takes 1.60 x C; due: 1.5"
    ]


def test_the_best_of_several_counts(peers: ModuleType) -> None:
    row = row_of(peers, targets=(peers.Target(OURS, 1.5),))
    clients = {peers.C: seen(10), OURS[0]: seen(30), OURS[1]: seen(14)}
    assert not list(peers.missed(row, clients))
    rows = {name: peers.to_result(row, name, clients) for name in clients}
    assert [rows[name].due for name in clients] == [None, None, 1.5]


def test_limits_in_milliseconds(peers: ModuleType) -> None:
    row = row_of(peers, targets=(peers.Target(OURS[:1], 9, unit="ms"),))
    assert not list(peers.missed(row, {OURS[0]: seen(8900)}))
    assert len(list(peers.missed(row, {OURS[0]: seen(9100)}))) == 1


def test_below_every_peer(peers: ModuleType) -> None:
    row = row_of(peers, ahead=OURS[:1])
    clients = {peers.C: seen(5), OURS[0]: seen(10), "requests": seen(11), "primp": seen(10)}
    assert list(peers.missed(row, clients)) == [
        "a row: promptlathe Client takes as much CPU as primp"
    ]


def test_memory_is_limited_for_each_client(peers: ModuleType) -> None:
    row = row_of(peers, concurrency=1000)
    clients = {OURS[1]: seen(1, memory=31_000), "aiohttp": seen(1, memory=99_000)}
    assert list(peers.missed(row, clients)) == [
        "a row: promptlathe AsyncClient keeps 31.0 KB per call; due: 30"
    ]


@pytest.mark.parametrize(("connections", "good"), [(3, True), (4, False)])
def test_connections_of_http2_are_bounded(peers: ModuleType, connections: int, good: bool) -> None:
    row = row_of(peers, concurrency=256, tls=True, server=("--http2",))
    found = list(peers.faults_of(row, OURS[1], seen(1, connections=connections)))
    assert bool(found) is not good
    assert not list(peers.faults_of(row, "primp", seen(1, connections=256)))


@pytest.mark.parametrize(("resumed", "good"), [(9, True), (8, False)])
def test_sessions_are_resumed(peers: ModuleType, resumed: int, good: bool) -> None:
    row = row_of(peers, tls=True, server=("--close",), resumed=True)
    for name in (peers.C, OURS[0]):
        found = list(peers.faults_of(row, name, seen(1, connections=10, resumed=resumed)))
        assert bool(found) is not good
    assert not list(peers.faults_of(row, "aiohttp", seen(1, connections=10)))
    assert peers.note_of(row, "aiohttp", seen(1)) == "resumes none"
    without = row_of(peers, tls=True, server=("--close", "--no-tickets"))
    assert len(list(peers.faults_of(without, "aiohttp", seen(1, resumed=1)))) == 1
    assert not list(peers.faults_of(row_of(peers, tls=True), "aiohttp", seen(1, resumed=1)))


def test_a_call_that_failed_is_told(peers: ModuleType) -> None:
    found = list(peers.faults_of(row_of(peers), "primp", seen(1, failures=2, failure="why")))
    assert found == ["a row, primp: 2 calls failed: why"]


def test_calls_that_were_not_at_once_are_told(peers: ModuleType) -> None:
    row = row_of(peers, concurrency=16)
    assert len(list(peers.faults_of(row, OURS[1], seen(1, most_held=15)))) == 1
    assert not list(peers.faults_of(row, OURS[1], seen(1, most_held=16)))


def test_every_target_is_of_a_client_that_makes_such_calls(peers: ModuleType) -> None:
    for row in peers.ROWS:
        for target in row.targets:
            for name in target.clients:
                assert peers.has(row, name) and not peers.why_not(row, name, quick=True), row.name
    assert len({row.name for row in peers.ROWS}) == len(peers.ROWS)
