"""The plugin as a user's own test run sees it."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from pathlib import Path

import promptlathe
import pytest
from promptlathe.mock import Server

pytest_plugins = ["pytester"]
PACKAGE = Path(promptlathe.__file__).resolve().parents[1]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A directory for a user's tests, in which the plugin is loaded as if it were installed."""
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE), prepend=os.pathsep)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "the user's own")
    if not entry_points(group="pytest11", name="promptlathe"):
        monkeypatch.setenv("PYTEST_PLUGINS", "promptlathe.pytest_plugin")
    return pytester


def test_unmodified_code_reaches_the_service(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        from promptlathe import Client

        def the_code_under_test():
            with Client() as client:
                return client.templatize("Translate hello to German")["variable_values"]

        def test_one(promptlathe_server):
            assert the_code_under_test()["WORD_TO_TRANSLATE"] == "hello"
            (request,) = promptlathe_server.requests
            assert request.headers["x-api-key"] == "simulated-key"
            assert "authorization" not in request.headers

        def test_two(promptlathe_server):
            assert promptlathe_server.requests == []
            promptlathe_server.script([{"status": 529, "headers": {"retry-after-ms": "1"}}])
            assert the_code_under_test()
            assert len(promptlathe_server.requests) == 2
        """
    )
    run.runpytest_subprocess("-W", "error").assert_outcomes(passed=2)


def test_the_default_client_reaches_the_service_of_each_test(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import promptlathe
        import pytest

        @pytest.mark.parametrize("number", range(3))
        def test_it(promptlathe_server, number):
            promptlathe.generate(f"task {number}")
            (request,) = promptlathe_server.requests
            assert request.json == {"task": f"task {number}"}
            assert request.headers["x-promptlathe-attempt"] == "1"
        """
    )
    run.runpytest_subprocess("-W", "error").assert_outcomes(passed=3)


def test_a_port_that_is_taken_meanwhile_is_left_to_its_owner(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import promptlathe
        from promptlathe.mock import Server

        ports = []

        def test_one(promptlathe_server):
            ports.append(int(promptlathe_server.url.rpartition(":")[2]))

        def test_between():
            ports.append(Server(port=ports[0]).start())

        def test_two(promptlathe_server):
            with promptlathe.Client() as client:
                client.generate("a chef")
            assert len(promptlathe_server.requests) == 1
            assert ports[1].requests == []
            ports[1].close()
        """
    )
    run.runpytest_subprocess("-W", "error").assert_outcomes(passed=3)


def test_environment_comes_back(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import os

        def test_with(promptlathe_server):
            assert os.environ["ANTHROPIC_BASE_URL"] == promptlathe_server.url
            assert "ANTHROPIC_AUTH_TOKEN" not in os.environ

        def test_without():
            assert "ANTHROPIC_BASE_URL" not in os.environ
            assert os.environ["ANTHROPIC_AUTH_TOKEN"] == "the user's own"
        """
    )
    run.runpytest_subprocess("-W", "error").assert_outcomes(passed=2)


def test_callable_that_fails_fails_the_test(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        from promptlathe import Client

        def test_it(promptlathe_server):
            promptlathe_server.script([lambda request: request.nonsense])
            with Client(max_retries=0) as client:
                try:
                    client.generate("a chef")
                except Exception:
                    pass
        """
    )
    result = run.runpytest_subprocess("-W", "error")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*a callable of the script failed: AttributeError*nonsense*"])


def test_plugin_is_cheap_and_listed(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import sys

        def test_it():
            assert "promptlathe.pytest_plugin" in sys.modules
            assert "promptlathe.mock" not in sys.modules
        """
    )
    run.runpytest_subprocess("-W", "error").assert_outcomes(passed=1)
    listed = run.runpytest_subprocess("--fixtures")
    listed.stdout.fnmatch_lines(
        ["*promptlathe_server*", "*A simulated service of this test alone*"]
    )


def test_fixture_gives_a_running_server(promptlathe_server: Server) -> None:
    with promptlathe.Client() as client:
        assert client.generate("a chef")["system"] == ""
    assert promptlathe_server.wait_for_requests(1)[0].path.endswith("/generate_prompt")
