"""What the tests share: where things are, the case files, and the core built without Python."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import rows

ROOT = Path(__file__).resolve().parents[2]


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Know the rows of the fault tables, in whatever files their tests are."""
    pluginmanager.register(rows, "fault rows")


def pytest_configure(config: pytest.Config) -> None:
    """Load the plugin under test also where the package is found by PYTHONPATH alone."""
    # A shell starts what it puts in the background with Ctrl-C ignored, and children inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line(
        "markers", "thread_unsafe(reason): not for pytest-run-parallel, which knows this marker"
    )
    if not config.pluginmanager.hasplugin("promptlathe"):
        from promptlathe import pytest_plugin

        config.pluginmanager.register(pytest_plugin, "promptlathe")


@pytest.fixture
def benchmark_path() -> Iterator[None]:
    """Put the benchmarks' folder on the path, and leave nothing of it afterwards."""
    folder = str(ROOT / "benchmarks")
    before, path = set(sys.modules), list(sys.path)
    sys.path.insert(0, folder)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        if any(place.startswith(folder) for place in _places_of(module)):
            del sys.modules[name]


def _places_of(module: Any) -> list[str]:
    """Where a module is, or the folders of a package."""
    return [str(getattr(module, "__file__", "")), *map(str, getattr(module, "__path__", ()))]


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the directory that holds the whole project."""
    return ROOT


@pytest.fixture(scope="session")
def load_cases() -> Callable[[str], list[Any]]:
    """Return a function that reads one file of tests/cases by its name without ``.json``."""

    def load(name: str) -> list[Any]:
        text = (ROOT / "tests/cases" / f"{name}.json").read_text(encoding="utf-8")
        cases: list[Any] = json.loads(text)
        return cases

    return load


@pytest.fixture(scope="session")
def core_build() -> Path:
    """Build the core, the C tests and the C examples; return the directory they are in."""
    subprocess.run(["make", "-s", "-C", ROOT / "csrc"], check=True)
    return ROOT / "build/plain"


@pytest.fixture(autouse=True)
def clean_environment() -> Iterator[None]:
    """Hide the user's own key, URL and proxies, so that a test sees only what it sets itself.

    Without the fixture `monkeypatch`, which would keep every test from running in several threads.
    """
    names = ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"]
    names += ["SSL_CERT_FILE", "SSL_CERT_DIR"]
    for proxy in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        names += [proxy, proxy.lower()]
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.delenv(name, raising=False)
        yield
