"""The command, run as its users run it: as a process of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import promptlathe
import pytest
from promptlathe.mock import Server

KEY = "sk-cli-0123456789-secret"
LIMIT = 60  # seconds that no test comes near; it ends one that hangs
CLEAN = "Human: Hi\n\nAssistant:"
PACKAGE_PARENT = str(Path(promptlathe.__file__).parent.parent)


def environment(**more: str) -> dict[str, str]:
    """The environment of these tests without anything that steers the command."""
    steering = ("ANTHROPIC_", "NO_COLOR", "TERM", "PYTHONIO", "PYTHONUNBUF", "LC_", "LANG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    return kept | {"PYTHONPATH": PACKAGE_PARENT, "TERM": "xterm", "ANTHROPIC_API_KEY": KEY} | more


def run(*args: str, stdin: bytes = b"", **more: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end; the key may be in nothing that it says."""
    env = more.pop("env", None) or environment()
    more.setdefault("stdout", subprocess.PIPE)
    done = subprocess.run(
        [sys.executable, "-m", "promptlathe", *args],
        input=stdin,
        stderr=subprocess.PIPE,
        env=env,
        timeout=LIMIT,
        **more,
    )
    assert KEY.encode() not in (done.stdout or b"") + done.stderr
    assert b"Traceback" not in done.stderr, done.stderr
    return done


def errors(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode()


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    shared_server.reset()
    return shared_server


@pytest.fixture
def env(server: Server) -> dict[str, str]:
    return environment(ANTHROPIC_BASE_URL=server.url)


def sent(server: Server) -> Any:
    """The JSON body of the only request."""
    (request,) = server.requests
    return request.json


def texts(answer: dict[str, Any]) -> str:
    return "".join(block["text"] for item in answer["messages"] for block in item["content"])


# ---- The three verbs -----------------------------------------------------------------------------


def test_generate_from_an_argument(server: Server, env: dict[str, str]) -> None:
    done = run("generate", "a chef", "--target-model", "m", env=env)
    assert done.returncode == 0 and not done.stderr
    assert sent(server) == {"task": "a chef", "target_model": "m"}
    shown = done.stdout.decode()
    assert "── user ─" in shown and "── usage ─" in shown and "input_tokens" in shown


def test_json_is_the_services_answer(server: Server, env: dict[str, str]) -> None:
    done = run("generate", "a chef for Zoë", "--json", env=env)
    with promptlathe.Client(KEY, base_url=server.url) as client:
        assert json.loads(done.stdout) == client.generate("a chef for Zoë")
    assert "Zoë".encode() in done.stdout
    assert done.stdout.endswith(b"}\n")


def test_improve_takes_its_options(server: Server, env: dict[str, str]) -> None:
    args = ("--feedback", "shorter", "--system", "Be kind.", "--target-model", "m")
    assert run("improve", "Hi {{X}}", *args, env=env).returncode == 0
    assert sent(server) == {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi {{X}}"}]}],
        "feedback": "shorter",
        "system": "Be kind.",
        "target_model": "m",
    }


def test_templatize_shows_the_variables(env: dict[str, str]) -> None:
    done = run("templatize", "Translate hello to German", env=env)
    shown = done.stdout.decode()
    assert done.returncode == 0 and not done.stderr
    assert "Translate {{WORD_TO_TRANSLATE}} to {{TARGET_LANGUAGE}}" in shown
    assert "TARGET_LANGUAGE    German" in shown


def test_a_template_that_loses_something_is_told(server: Server, env: dict[str, str]) -> None:
    answer = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi {{X}}"}]}],
        "system": "",
        "usage": {},
        "variable_values": {"X": "you"},
    }
    server.script([{"status": 200, "body": answer}])
    done = run("templatize", "Hi there", env=env)
    assert done.returncode == 0
    assert "messages.0.content.0.text: text" in errors(done)


def test_options_of_the_service(server: Server) -> None:
    args = ("--base-url", server.url + "/gateway/", "--beta", "one", "--beta", "two")
    done = run("generate", "x", *args, "--timeout", "30", "--max-retries", "0")
    (request,) = server.requests
    assert request.path == "/gateway/v1/experimental/generate_prompt"
    betas = request.headers["anthropic-beta"].replace(" ", "").split(",")
    assert betas == ["prompt-tools-2025-04-02", "one", "two"]
    assert request.headers["x-api-key"] == KEY
    assert done.returncode == 4  # the simulated service knows no such path


# ---- Where input comes from ----------------------------------------------------------------------


@pytest.mark.parametrize("args", [(), ("-",), ("--file", "-"), ("-f", "-")])
def test_standard_input(server: Server, env: dict[str, str], args: tuple[str, ...]) -> None:
    assert run("generate", *args, stdin="  ä chef\r\n".encode(), env=env).returncode == 0
    assert sent(server) == {"task": "  ä chef\r\n"}


def test_a_file(server: Server, env: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "task.txt"
    path.write_bytes("ä chef\n".encode())
    assert run("generate", "--file", str(path), env=env).returncode == 0
    assert sent(server) == {"task": "ä chef\n"}


def test_text_that_looks_like_an_option(server: Server, env: dict[str, str]) -> None:
    assert run("generate", "--", "--help", env=env).returncode == 0
    assert sent(server) == {"task": "--help"}


def test_an_empty_argument_is_sent(server: Server, env: dict[str, str]) -> None:
    run("improve", "", env=env)
    assert sent(server)["messages"][0]["content"][0]["text"] == ""


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (("generate", "x", "--file", "y"), "give one of them"),
        (("generate", "--file", "/nowhere/task.txt"), "/nowhere/task.txt: cannot be read"),
        (("generate", "--file", "/"), "/: cannot be read"),
        (("generate",), "standard input was empty"),
        (("render", "x", "--values-file", "/nowhere/values.json"), "cannot be read"),
    ],
)
def test_input_that_is_not_there(args: tuple[str, ...], hint: str) -> None:
    done = run(*args)
    assert (done.returncode, done.stdout) == (2, b"")
    assert hint in errors(done)


def test_a_terminal_is_not_waited_for() -> None:
    master, slave = pty.openpty()
    with open(master, "rb"), open(slave, "rb") as terminal:
        done = subprocess.run(
            [sys.executable, "-m", "promptlathe", "render"],
            stdin=terminal,
            capture_output=True,
            env=environment(),
            timeout=LIMIT,
        )
    assert done.returncode == 2
    assert b"no input: give TEXT" in done.stderr


def test_input_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("Café".encode("latin-1"))
    done = run("render", "--file", str(path))
    assert done.returncode == 3
    assert "latin.txt: byte 3 is not UTF-8" in errors(done)
    assert run("render", stdin=b"\xff").returncode == 3


# ---- JSON as input -------------------------------------------------------------------------------


def test_a_request_body_as_input(server: Server, env: dict[str, str]) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "feedback": "a", "system": "s"}
    args = ("improve", "--format", "json", "--feedback", "b")
    assert run(*args, stdin=json.dumps(body).encode(), env=env).returncode == 0
    assert (sent(server)["feedback"], sent(server)["system"]) == ("b", "s")


@pytest.mark.parametrize("document", ['"a chef"', '{"task": "a chef", "target_model": null}'])
def test_a_task_as_json(server: Server, env: dict[str, str], document: str) -> None:
    assert run("generate", "--format", "json", document, env=env).returncode == 0
    assert sent(server) == {"task": "a chef"}


def test_an_answer_is_the_next_input(env: dict[str, str]) -> None:
    generated = run("generate", "a chef", "--json", env=env).stdout
    improved = run("improve", "--format", "json", "--json", stdin=generated, env=env)
    assert improved.returncode == 0, errors(improved)
    template = run("templatize", "--format", "json", "--json", stdin=improved.stdout, env=env)
    assert template.returncode == 0, errors(template)
    values = json.loads(template.stdout)["variable_values"]
    pairs = [word for item in values.items() for word in ("--values", "=".join(item))]
    args = ("render", "--format", "json", "--json", "--partial", *pairs)
    rendered = run(*args, stdin=template.stdout)
    assert texts(json.loads(rendered.stdout)) == texts(json.loads(improved.stdout))


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ('{"messages": [{"role": "user", "role": "user"}]}', ["messages.0.role: the key stands"]),
        ('{"messages": [NaN, 1e999]}', ["messages.0: NaN", "messages.1: 1e999"]),
        ("[-Infinity]", ["0: -Infinity"]),
        ("NaN", ["the input: NaN"]),
        ('{"messages": []', ["line 1, column 16"]),
        ('{"mesages": []}', ["messages: missing", "mesages: unexpected_key"]),
        ("[" * 100_000, ["nested too deeply"]),
        ("[" + "1" * 5000 + "]", ["too long"]),
        ("5", ["messages: wrong_type"]),
        ('[{"role": "me"}]', ["messages.0.role: bad_role", "messages.0.content: missing"]),
    ],
)
def test_json_that_is_refused(env: dict[str, str], document: str, told: list[str]) -> None:
    done = run("improve", "--format", "json", stdin=document.encode(), env=env)
    assert (done.returncode, done.stdout) == (3, b"")
    for words in told:
        assert words in errors(done)


def test_every_fault_has_a_line_of_its_own(env: dict[str, str]) -> None:
    document = json.dumps([{"role": "me", "content": []}, {"role": 1}])
    lines = errors(run("improve", "--format", "json", document, env=env)).splitlines()
    assert lines[0].startswith("promptlathe: the input breaks 4 rules")
    assert [line.split(": ")[:2] for line in lines[1:]] == [
        ["  messages.0.role", "bad_role"],
        ["  messages.0.content", "empty"],
        ["  messages.1.role", "wrong_type"],
        ["  messages.1.content", "missing"],
    ]


def test_more_faults_than_are_kept() -> None:
    document = json.dumps([{"role": "user", "content": 1}] * 1500)
    done = run("templatize", "--format", "json", stdin=document.encode())
    assert errors(done).splitlines()[-1] == "  ... and 500 more"


# ---- Exit codes and messages ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("nonsense",),
        ("generate", "x", "--nonsense"),
        ("generate", "x", "--api-key", "k"),
        ("generate", "x", "--timeout", "0"),
        ("generate", "x", "--timeout", "nan"),
        ("generate", "x", "--max-retries", "-1"),
        ("generate", "x", "--base-url", "ftp://example.com"),
        ("generate", "x", "--base-url", "http://example.com"),
        ("generate", "x", "--ca-file", "/nowhere/ca.pem"),
        ("generate", "x", "--beta", "a\nb"),
        ("render", "x", "--values", "A"),
        ("render", "x", "--values", "A=1", "--values", "A=2"),
        ("mock", "--port", "65536"),
    ],
)
def test_usage_and_configuration(args: tuple[str, ...]) -> None:
    done = run(*args)
    assert (done.returncode, done.stdout) == (2, b"")
    assert "promptlathe" in errors(done)


def test_no_key_names_the_variables() -> None:
    done = run("generate", "x", env=environment(ANTHROPIC_API_KEY=""))
    assert done.returncode == 2
    assert "ANTHROPIC_API_KEY" in errors(done) and "ANTHROPIC_AUTH_TOKEN" in errors(done)


def test_bad_input_is_never_sent(server: Server, env: dict[str, str]) -> None:
    assert run("generate", "x", "--target-model", "m" * 257, env=env).returncode == 3
    assert run("generate", b"\xff", env=env).returncode == 3  # type: ignore[arg-type]
    assert server.requests == []


@pytest.mark.parametrize("status", [300, 400, 401, 403, 404, 409, 413, 422, 429, 500, 529])
def test_refused_by_the_service(server: Server, env: dict[str, str], status: int) -> None:
    body = {
        "type": "error",
        "error": {"type": "some_error", "message": "Not\x1b[31m today."},
        "request_id": "req_1234",
    }
    server.script([{"status": status, "headers": {"request-id": "req_1234"}, "body": body}])
    done = run("generate", "x", "--max-retries", "0", env=env)
    assert (done.returncode, done.stdout) == (4, b"")
    for words in (str(status), "today.", "req_1234"):
        assert words in errors(done)
    assert "\x1b" not in errors(done)


def test_retries_are_told(server: Server, env: dict[str, str]) -> None:
    server.script([{"status": 500, "headers": {"retry-after-ms": "1"}}] * 2)
    done = run("generate", "x", "--max-retries", "1", env=env)
    assert done.returncode == 4
    assert len(server.requests) == 2
    assert "2 attempts" in errors(done)


def test_unreachable() -> None:
    with closing(socket.socket()) as reserved:  # bound but not listening: refused, and ours
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        done = run("generate", "x", "--base-url", url, "--max-retries", "0")
    assert (done.returncode, done.stdout) == (5, b"")
    assert "127.0.0.1" in errors(done)


def test_not_in_time() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = run("generate", "x", "--base-url", url, "--timeout", "0.2")
    assert done.returncode == 5
    assert "--timeout" in errors(done)


def test_an_answer_that_cannot_be_used(server: Server, env: dict[str, str]) -> None:
    server.script([{"status": 200, "body": "<html>welcome</html>"}])
    done = run("generate", "x", env=env)
    assert (done.returncode, done.stdout) == (6, b"")
    assert errors(done).startswith("promptlathe: ")
    assert "'<html>welcome</html>'" in errors(done)


def test_an_internal_fault_has_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from promptlathe import cli

    def broken(*_: object, **__: object) -> None:
        raise LookupError("of our own")

    monkeypatch.setattr(promptlathe, "render", broken)
    assert cli.main(["render", "x"]) == 1
    assert "internal error: LookupError: of our own" in capsys.readouterr().err


def test_interrupted() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        running = subprocess.Popen(
            [sys.executable, "-m", "promptlathe", "generate", "x", "--base-url", url],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        silent.settimeout(LIMIT)
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)  # the call is in flight
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=LIMIT)
    assert (running.returncode, out) == (130, b"")
    assert err == b"promptlathe: interrupted\n"


# ---- Where output goes ---------------------------------------------------------------------------


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_output_to_a_file(env: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    path.write_text("old")
    path.chmod(0o644)
    done = run("generate", "x", "--json", "-o", str(path), env=env, umask=0)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert mode_of(path) == 0o600
    assert set(json.loads(path.read_bytes())) >= {"messages", "system", "usage"}
    assert [item.name for item in tmp_path.iterdir()] == ["answer.json"]


def test_a_failure_leaves_the_file_as_it_was(
    server: Server, env: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "answer.json"
    path.write_text("old")
    server.script([{"status": 400}])
    assert run("generate", "x", "-o", str(path), env=env).returncode == 4
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["answer.json"]


def test_output_through_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    assert run("render", "new", "-o", str(link)).returncode == 0
    assert link.is_symlink() and target.read_text() == "new"


def test_output_to_a_device() -> None:
    assert run("render", "new", "-o", "/dev/null").returncode == 0
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("path", ["/nowhere/file", "/"])
def test_output_that_cannot_be_is_told_before_the_call(
    server: Server, env: dict[str, str], path: str
) -> None:
    done = run("generate", "x", "-o", path, env=env)
    assert done.returncode == 2
    assert errors(done).startswith(f"promptlathe: {path}: ")
    assert server.requests == []


def test_text_is_written_exactly() -> None:
    assert run("render", stdin=b"a\r\nb {{X}}\x1b").returncode == 3
    done = run("render", "--values", "X=\u00e9", stdin=b"a\r\nb {{X}}\x1b")
    assert done.stdout == "a\r\nb \u00e9\x1b".encode()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16"])
def test_output_is_utf8_whatever_the_locale(encoding: str) -> None:
    env = environment(PYTHONIOENCODING=encoding, LC_ALL="C")
    assert run("render", stdin="Zoë 世界".encode(), env=env).stdout == "Zoë 世界".encode()


def test_a_reader_that_leaves_is_no_error() -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "promptlathe", "render"],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout is not None
    running.stdout.close()  # before it has its input, so before it writes
    running.stdout = None
    _, err = running.communicate(b"x" * 1_000_000, timeout=LIMIT)
    assert (running.returncode, err) == (0, b"")


@pytest.mark.parametrize("args", [("render", "x"), ("--help",), ("--version",)])
def test_a_full_disk_is_told(args: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = run(*args, stdout=full)
    assert done.returncode == 1
    reason = "standard output cannot be written: No space left on device"
    assert errors(done) == f"promptlathe: {reason}\n"


def test_streams_that_are_closed() -> None:
    code = "import os, sys; os.close(1); os.close(2); os.execv(sys.executable, sys.argv[1:])"
    command = [sys.executable, "-m", "promptlathe", "render", "x"]
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        env=environment(),
        stdin=subprocess.DEVNULL,
        timeout=LIMIT,
    )
    assert done.returncode == 2


# ---- On a terminal -------------------------------------------------------------------------------


def on_a_terminal(*args: str, env: dict[str, str]) -> str:
    """What the command shows on a pseudo-terminal."""
    master, slave = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "promptlathe", *args],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=subprocess.PIPE,
    )
    os.close(slave)
    shown = b""
    while select.select([master], [], [], LIMIT)[0]:
        try:
            data = os.read(master, 65536)
        except OSError:  # EIO: the other end is closed
            break
        if not data:
            break
        shown += data
    os.close(master)
    _, err = running.communicate(timeout=LIMIT)
    assert (running.returncode, err) == (0, b"")
    return shown.decode().replace("\r\n", "\n")


def test_colour_on_a_terminal(env: dict[str, str]) -> None:
    shown = on_a_terminal("templatize", "Translate hello to German", env=env)
    assert "\x1b[1;36m── user ─" in shown
    assert "\x1b[33m{{TARGET_LANGUAGE}}\x1b[0m" in shown


@pytest.mark.parametrize("more", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_it_is_not_wanted(env: dict[str, str], more: dict[str, str]) -> None:
    shown = on_a_terminal("templatize", "Translate hello to German", env=env | more)
    assert "── user ─" in shown and "\x1b" not in shown


def test_what_a_terminal_shows_cannot_steer_it() -> None:
    shown = on_a_terminal("render", "a\x1b[2Jb\x07\tc", env=environment())
    assert shown == "a\\x1b[2Jb\\x07\tc\n"


def test_json_has_no_colour_on_a_terminal(env: dict[str, str]) -> None:
    assert "messages" in json.loads(on_a_terminal("generate", "x", "--json", env=env))


# ---- Legacy prompts ------------------------------------------------------------------------------


def test_check_of_a_clean_prompt() -> None:
    prompt = ("\n\n" + CLEAN).encode()
    done = run("check", stdin=prompt)
    assert (done.returncode, done.stdout, done.stderr) == (0, prompt, b"")


def test_check_tells_what_was_changed() -> None:
    done = run("check", stdin=(CLEAN + " \n").encode())
    assert (done.returncode, done.stdout) == (0, ("\n\n" + CLEAN).encode())
    assert errors(done).splitlines() == [
        "promptlathe: changed: normalized_leading_newlines",
        "promptlathe: changed: stripped_trailing_whitespace",
    ]


def test_check_as_json() -> None:
    done = run("check", CLEAN + " ", "--json")
    assert json.loads(done.stdout) == {
        "prompt": "\n\n" + CLEAN,
        "changes": ["normalized_leading_newlines", "stripped_trailing_whitespace"],
    }
    assert not done.stderr


def test_check_tells_every_fault() -> None:
    done = run("check", "\n\nHuman: Bonjour, Claude \nAssistant:")
    assert (done.returncode, done.stdout) == (3, b"")
    assert "at character 25: missing_assistant_turn: " in errors(done)
    done = run("check", "Bonjour, monde")
    assert "prompt: missing_human_turn: " in errors(done)
    assert "prompt: missing_assistant_turn: " in errors(done)


@pytest.mark.parametrize("document", [json.dumps(CLEAN), json.dumps({"prompt": CLEAN})])
def test_a_legacy_prompt_as_json(document: str) -> None:
    assert run("check", "--format", "json", document).stdout == ("\n\n" + CLEAN).encode()
    assert run("check", "--format", "json", "[]").returncode == 3


def test_a_long_prompt_needs_a_count() -> None:
    prompt = ("\n\nHuman: " + "word " * 20_000 + "\n\nAssistant:").encode()
    done = run("check", stdin=prompt)
    assert (done.returncode, done.stdout) == (3, b"")
    assert "token_count_unknown" in errors(done) and "--tokens" in errors(done)
    assert run("check", "--tokens", "20010", stdin=prompt).stdout == prompt
    assert "too_many_tokens" in errors(run("check", "--tokens", "99999", stdin=prompt))


def test_convert() -> None:
    prompt = "Be brief.\n\nHuman: Hi {{X}}\n\nAssistant: Well,"
    done = run("convert", "--json", prompt)
    assert json.loads(done.stdout) == {
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi {{X}}"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Well,"}]},
        ],
    }
    shown = run("convert", prompt).stdout.decode()
    for words in ("── system ─", "Be brief.", "── user ─", "── assistant (prefill) ─", "Well,"):
        assert words in shown


def test_a_converted_prompt_is_improved(server: Server, env: dict[str, str]) -> None:
    converted = run("convert", "--json", "Be brief.\n\nHuman: Hi\n\nAssistant:").stdout
    assert run("improve", "--format", "json", stdin=converted, env=env).returncode == 0
    assert sent(server)["system"] == "Be brief."


# ---- Templates -----------------------------------------------------------------------------------


def test_render_names_every_missing_variable() -> None:
    done = run("render", "{{A}} {{B}} {{C}}", "--values", "B=1")
    assert (done.returncode, done.stdout) == (3, b"")
    assert "no value for A, C" in errors(done)
    partly = run("render", "{{A}} {{B}}", "--values", "B=1", "--partial")
    assert partly.stdout == b"{{A}} 1"


def test_values_of_the_command_line_win(tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    path.write_text('{"A": "file", "B": "b=c"}')
    values = ("--values-file", str(path), "--values", "A=", "--values", "D=e=f")
    done = run("render", "{{A}}{{B}}{{D}}", *values)
    assert done.stdout == b"b=ce=f"


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("[]", "must be a JSON object"),
        ('{"A": 1, "B": null}', "values.B: wrong_type"),
        ('{"A": "1", "A": "2"}', "A: the key stands"),
    ],
)
def test_values_that_are_refused(tmp_path: Path, document: str, told: str) -> None:
    path = tmp_path / "values.json"
    path.write_text(document)
    done = run("render", "{{A}}", "--values-file", str(path))
    assert done.returncode == 3
    assert told in errors(done)


def test_render_keeps_the_shape() -> None:
    messages = [{"role": "user", "content": "Hi {{X}}"}]
    args = ("render", "--format", "json", "--json", "--values", "X=you")
    rendered = json.loads(run(*args, stdin=json.dumps(messages).encode()).stdout)
    assert rendered == [{"role": "user", "content": "Hi you"}]
    assert json.loads(run(*args, '"Hi {{X}}"').stdout) == "Hi you"


def test_a_rendered_answer_is_shown_without_its_former_values() -> None:
    answer = {
        "messages": [{"role": "user", "content": "Translate {{WORD}}"}],
        "system": "Be {{HOW}}",
        "variable_values": {"WORD": "hello", "HOW": "brief"},
        "usage": {"input_tokens": 7},
    }
    args = ("--format", "json", "--values", "WORD=water", "--values", "HOW=kind")
    shown = run("render", *args, stdin=json.dumps(answer).encode()).stdout.decode()
    assert "Translate water" in shown and "Be kind" in shown
    assert "hello" not in shown and "input_tokens" not in shown
    whole = json.loads(run("render", *args, "--json", stdin=json.dumps(answer).encode()).stdout)
    assert whole["variable_values"] == answer["variable_values"]


@pytest.mark.parametrize("document", ["null", "5", "true"])
def test_what_cannot_be_rendered_is_bad_input(document: str) -> None:
    done = run("render", "--format", "json", document)
    assert done.returncode == 3
    assert errors(done).startswith("promptlathe: prompt: wrong_type: ")


def test_a_lone_surrogate_is_refused_with_its_place() -> None:
    document = r'{"messages": [], "system": "", "usage": "\ud800"}'
    done = run("render", "--format", "json", "--json", document)
    assert (done.returncode, done.stdout) == (3, b"")
    assert "usage: not_unicode" in errors(done)


# ---- What differs --------------------------------------------------------------------------------


def test_diff_of_files(tmp_path: Path) -> None:
    before, after = tmp_path / "before.txt", tmp_path / "after.json"
    before.write_text("Translate hello")
    after.write_text('{"messages": [{"role": "user", "content": "Translate {{WORD}}"}]}')
    done = run("diff", str(before), str(after))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == (
        "Translate [-hello-]{+{{WORD}}+}\n\n"
        "1 word removed, 1 added; 15 characters became 18\nvariables won: WORD\n"
    )
    shown = json.loads(run("diff", "--json", "-", str(after), stdin=b"Translate").stdout)
    assert (shown["changed"], shown["added"], shown["won"]) == (True, ["{{WORD}}"], ["WORD"])
    text = run("diff", "--format", "text", str(after), str(after)).stdout
    assert text.startswith(b"no difference: 6 words")


def test_diff_in_colour_on_a_terminal_alone(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.write_text("one\x1b[2J")
    after.write_text("two\x1b[2J")
    args = ("diff", str(before), str(after))
    assert on_a_terminal(*args, env=environment()).startswith("\x1b[31mone\x1b[0m\x1b[32mtwo")
    plain = on_a_terminal(*args, env=environment(NO_COLOR="1"))
    assert plain.startswith("[-one-]{+two+}\\x1b[2J\n")
    assert run(*args).stdout.startswith(b"[-one-]{+two+}\x1b[2J\n")


@pytest.mark.parametrize(
    ("document", "code", "told"),
    [
        ("5", 3, "before.json: wrong_type: must be a string, a list of messages or an answer"),
        ('[{"role": "user"}]', 3, "before.messages.0.content: missing"),
        ("{", 3, "before.json is not JSON"),
        (None, 2, "before.json: cannot be read"),
    ],
)
def test_diff_of_what_it_cannot_use(
    tmp_path: Path, document: str | None, code: int, told: str
) -> None:
    path = tmp_path / "before.json"
    if document is not None:
        path.write_text(document)
    done = run("diff", str(path), "-")
    assert (done.returncode, done.stdout) == (code, b"")
    assert told in errors(done)
    assert run("diff", "-", "-").returncode == 2


# ---- The others ----------------------------------------------------------------------------------


def test_version() -> None:
    done = run("--version")
    assert done.stdout.decode() == f"promptlathe {promptlathe.__version__}\n"


@pytest.mark.parametrize("command", ["demo", "generate", "improve", "templatize", "check", "mock"])
def test_help(command: str) -> None:
    shown = run(command, "--help").stdout.decode()
    assert shown.startswith(f"usage: promptlathe {command} ")
    assert "-key" not in shown and "-token" not in shown.replace("-tokens", "")


def test_demo_needs_no_key_and_no_network() -> None:
    env = environment(ANTHROPIC_API_KEY="", ANTHROPIC_BASE_URL="https://nowhere.invalid")
    done = run("demo", env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    shown = done.stdout.decode()
    for words in (
        "simulated",
        "asks no model",
        "/v1/experimental/generate_prompt",
        "/v1/experimental/improve_prompt",
        "/v1/experimental/templatize_prompt",
        "Translate {{WORD_TO_TRANSLATE}} to {{TARGET_LANGUAGE}}",
        "round trip: exact",
        "missing_assistant_turn",
    ):
        assert words in shown
    assert "\x1b" not in shown


def test_demo_ends_with_a_command_that_can_be_copied(tmp_path: Path) -> None:
    env = environment(PATH=str(tmp_path))
    last = run("demo", env=env).stdout.decode().splitlines()[-2:]
    assert last[0].startswith(f"{sys.executable} -m promptlathe mock ")
    program = tmp_path / "promptlathe"
    program.symlink_to("/bin/true")
    last = run("demo", env=env).stdout.decode().splitlines()[-2:]
    assert last[0].startswith("promptlathe mock ") and last[1].startswith("promptlathe --help ")


@pytest.mark.parametrize("more", [(), ("--quiet",)])
def test_mock_serves_until_it_is_stopped(more: tuple[str, ...]) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "promptlathe", "mock", "--port", "0", *more],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert running.stdout is not None
    with running.stdout:
        lines = (line.decode() for line in running.stdout)
        url = next(found[0] for line in lines if (found := re.search(r"http://[\d.:]+\d", line)))
        done = run("generate", "x", "--base-url", url)
        running.send_signal(signal.SIGINT)
        rest = running.stdout.read()
        running.wait(LIMIT)
    assert (b"generate_prompt" in rest) is (not more)
    assert (done.returncode, running.returncode) == (0, 130)


def test_mock_says_why_it_cannot_listen() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        done = run("mock", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "cannot listen on 127.0.0.1:" in errors(done)
