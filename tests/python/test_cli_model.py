"""The command with a model that does the work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from faults import raw_server
from test_cli import environment, errors, run


def messages_answer(text: str, stop_reason: str = "end_turn") -> bytes:
    usage = {"input_tokens": 10, "output_tokens": 5}
    content = [{"type": "text", "text": text}]
    return json.dumps({"content": content, "stop_reason": stop_reason, "usage": usage}).encode()


def run_with_model(texts: list[str | tuple[str, str]], *args: str) -> tuple[Any, list[Any]]:
    """Run a command whose model answers with these texts; what came of it, and what it was asked."""
    answers = [messages_answer(*([each] if isinstance(each, str) else each)) for each in texts]

    def handle(connection: raw_server.Connection) -> None:
        for body in answers:
            connection.request()
            connection.send(raw_server.answer(body=body))

    with raw_server.RawServer(handle) as server:
        done = run(
            *args,
            "--base-url",
            server.url,
            "--model",
            "local",
            env=environment(ANTHROPIC_API_KEY=""),
        )
        return done, [json.loads(request.body) for request in server.requests]


def test_a_model_does_the_work_without_a_key() -> None:
    text = "<result_prompt>You are a chef. {{DISH}}</result_prompt>"
    args = ("--max-tokens", "99", "--target-model", "other")
    done, asked = run_with_model([text], "generate", "a chef", *args)
    assert done.returncode == 0 and not done.stderr
    assert b"You are a chef. {{DISH}}" in done.stdout
    assert asked[0]["model"] == "local" and asked[0]["max_tokens"] == 99
    assert "a chef" in asked[0]["messages"][0]["content"]


def test_instructions_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "generate.txt").write_text("write a prompt")
    text = "<result_prompt>fine</result_prompt>"
    _, asked = run_with_model([text], "generate", "x", "--instructions", str(tmp_path))
    assert asked[0]["system"] == "write a prompt"
    (tmp_path / "generat.txt").write_text("write a prompt")
    done, asked = run_with_model([], "generate", "x", "--instructions", str(tmp_path))
    assert done.returncode == 2 and b"generat.txt" in done.stderr and not asked


def test_what_a_model_named_in_vain_is_told() -> None:
    spans = '[{"name": "DISH", "text": "soup"}, {"name": "X", "text": "bread"}]'
    text = f"<result_variables>{spans}</result_variables>"
    done, _ = run_with_model([text], "templatize", "Cook soup")
    assert done.returncode == 0 and b"Cook {{DISH}}" in done.stdout
    assert errors(done) == "promptlathe: note: X: it does not stand in the prompt\n"


def test_an_answer_that_cannot_be_used_is_code_6() -> None:
    done, asked = run_with_model(["no marks", "none again"], "generate", "x")
    assert done.returncode == 6 and len(asked) == 2
    assert "the answer begins: 'none again'" in errors(done)
    done, _ = run_with_model([("<result_prompt>", "max_tokens")] * 2, "generate", "x")
    assert done.returncode == 6 and "--max-tokens" in errors(done)


def test_variables_that_changed() -> None:
    text = "<result_prompt>Cook {{MEAL}}</result_prompt>"
    done, _ = run_with_model([text] * 2, "improve", "Cook {{DISH}}")
    assert done.returncode == 6
    assert "missing: DISH" in errors(done) and "new: MEAL" in errors(done)
    args = ("improve", "Cook {{DISH}}", "--on-variable-change")
    done, _ = run_with_model([text] * 2, *args, "warn")
    assert done.returncode == 0 and b"{{MEAL}}" in done.stdout
    assert "warning: the result has other variables" in errors(done)
    done, _ = run_with_model([text] * 2, *args, "keep_original")
    assert done.returncode == 0 and b"Cook {{DISH}}" in done.stdout


def test_effort_is_of_improve_alone() -> None:
    assert run("generate", "x", "--effort", "fast").returncode == 2
    steps = ["<result_examples></result_examples>"] + ["<result_prompt>x</result_prompt>"] * 3
    done, asked = run_with_model(steps, "improve", "x", "--effort", "thorough")
    assert done.returncode == 0 and len(asked) == 4


def test_options_of_a_model_want_one() -> None:
    done = run("generate", "x", "--max-tokens", "9")
    assert done.returncode == 2 and "--max-tokens is of use with --model" in errors(done)


def test_options_are_called_what_the_command_calls_them() -> None:
    done = run("generate", "x", "--base-url", "http://example.com")
    assert done.returncode == 2
    assert "--allow-http" in errors(done) and "allow_http" not in errors(done)
