"""Certificates, the look-up that can be told to hang, and children that use it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from faults import outcome
from faults.rows import libcurl_version
from faults.tls import Authority

HERE = Path(__file__).resolve().parent
Child = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def libcurl() -> tuple[int, ...]:
    """The version of libcurl, as numbers."""
    return tuple(map(int, libcurl_version().split("-")[0].split(".")))


@pytest.fixture(params=outcome.WAYS.values(), ids=outcome.WAYS.keys())
def way(request: pytest.FixtureRequest) -> Any:
    """Each manner of calling, as a class to be made with a URL and a client's options."""
    return request.param


def descriptors() -> set[tuple[str, str]]:
    """What is open in this process, by number and by what it leads to."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
        except FileNotFoundError:
            continue  # the directory's own
    return found


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    """Whatever went wrong, a closed client leaves nothing open."""
    before = descriptors()
    yield
    assert descriptors() - before == set()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that clients under test are told to trust."""
    return Authority(tmp_path_factory.mktemp("authority"), "Trusted for a test")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that no client trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"), "Stranger")


def build_library(directory: Path, name: str) -> Path:
    """Build one of the libraries that are loaded before the C library, to stand in its place."""
    path = directory / f"{name}.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror"]
    subprocess.run(["cc", *flags, HERE / f"{name}.c", "-o", path, "-ldl"], check=True)
    return path


@pytest.fixture(scope="session")
def lookup_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that puts its own getaddrinfo before the C library's."""
    return build_library(tmp_path_factory.mktemp("lookup"), "lookup")


@pytest.fixture
def child(lookup_library: Path, tmp_path: Path) -> Child:
    """Return a function that runs one function of `faults.children` in a Python of its own.

    Names under ``example.invalid`` are this machine there, and the first `hangs` of their look-ups
    hang until the child lets them go.
    """

    def run(name: str, *args: object, hangs: int = 0) -> subprocess.CompletedProcess[str]:
        for fifo in ("began", "go"):
            if not (tmp_path / fifo).exists():
                os.mkfifo(tmp_path / fifo)
        preload = [os.environ.get("LD_PRELOAD", ""), str(lookup_library)]
        path = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "LD_PRELOAD": ":".join(filter(None, preload)),
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "LOOKUPS_THAT_HANG": str(hangs),
            "LOOKUP_BEGAN": str(tmp_path / "began"),
            "LOOKUP_GO": str(tmp_path / "go"),
        }
        command = [sys.executable, "-m", "faults.children", name, *map(str, args)]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=30, check=False
        )

    return run
