"""The verbs of the real client over LiteLLM's proxy, a gateway that is not ours.

Two kinds of models stand behind it: LiteLLM's own mocked answers (``mock_response``), and a scripted
server of chat completions, so that LiteLLM has to translate both ways. No live model is asked.
Usage: litellm.py PATH_OF_LITELLM
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import promptlathe
from promptlathe import Client

KEY = "sk-of-this-test-0123456789abcdef"
LIMIT = 180.0  # seconds, for the proxy to start
TEXT = "Translate hello to German"

SECTIONS = "Gladly:\n<result_prompt>\nHi {{NAME}}\n</result_prompt>"
SPANS = '<result_variables>[{"name": "language", "text": "German"}]</result_variables>'
MOCKED = {
    "writes": SECTIONS,
    "writes-json": json.dumps({"result_prompt": "Hi {{NAME}}", "result_prefill": ""}),
    "names": SPANS,
    "talks": "What a nice idea!",
    "busy": "litellm.RateLimitError",
    "broken": "litellm.InternalServerError",
}


# ---- What stands behind LiteLLM -----------------------------------------------------------------


class Upstream(ThreadingHTTPServer):
    """A server of chat completions that answers as it was told last."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), UpstreamHandler)
        self.content: str | None = ""
        self.finish_reason = "stop"
        self.refuses = ""  # what it calls a request that wants structured output
        self.requests: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class UpstreamHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append(request)
        if self.server.refuses and "response_format" in request:
            fault = {"message": self.server.refuses, "type": "BadRequestError", "code": 400}
            return self.answer(400, {"error": fault})
        message = {"role": "assistant", "content": self.server.content}
        choice = {"index": 0, "message": message, "finish_reason": self.server.finish_reason}
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m"}
        return self.answer(200, {**answer, "choices": [choice], "usage": usage})

    def answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


# ---- LiteLLM ------------------------------------------------------------------------------------


def configuration(upstream: Upstream) -> dict[str, Any]:
    models: list[dict[str, Any]] = [
        {
            "model_name": name,
            "litellm_params": {
                "model": "anthropic/claude-sonnet-4-5" if name == "writes" else "openai/gpt-4o",
                "api_key": "none",
                "api_base": "http://127.0.0.1:9",  # no other host is asked, whatever is not mocked
                "mock_response": text,
            },
        }
        for name, text in MOCKED.items()
    ]
    behind = {"model": "hosted_vllm/m", "api_base": upstream.url, "api_key": "none"}
    models.append({"model_name": "translated", "litellm_params": behind})
    return {"model_list": models, "router_settings": {"num_retries": 0, "disable_cooldowns": True}}


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def litellm(path: str, upstream: Upstream) -> Iterator[str]:
    """Run the proxy; yield its address once it answers."""
    url = f"http://127.0.0.1:{free_port()}"
    environment = {
        **os.environ,
        "LITELLM_MASTER_KEY": KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it is fetched from the network
        "LITELLM_TELEMETRY": "False",
    }
    environment.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as place, open(f"{place}/log", "w+") as log:
        config = Path(place) / "config.yaml"  # JSON is YAML
        config.write_text(json.dumps(configuration(upstream)), encoding="utf-8")
        command = [path, "--config", str(config), "--host", "127.0.0.1"]
        with subprocess.Popen(
            [*command, "--port", url.rpartition(":")[2]],
            env=environment,
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as running:
            try:
                wait_until_alive(url, running)
                yield url
            except BaseException:
                log.seek(0)
                print(log.read()[-5000:], file=sys.stderr)
                raise
            finally:
                running.terminate()


def wait_until_alive(url: str, running: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + LIMIT
    while time.monotonic() < until and running.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/health/liveliness", timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise SystemExit("LiteLLM did not start")


# ---- What is seen -------------------------------------------------------------------------------


def text_of(result: Any) -> str:
    text: str = result["messages"][0]["content"][0]["text"]
    return text


def expect(kind: type[promptlathe.APIError], call: Callable[[], Any]) -> Any:
    """The error that the call must end in."""
    try:
        result = call()
    except kind as error:
        assert KEY not in repr(vars(error)), "the key is on the error"
        return error
    raise AssertionError(f"{kind.__name__} was expected, not {result!r}")


def mocked(client: Client) -> None:
    """LiteLLM's own answers."""
    for name in ("writes", "writes-json"):
        raw = client.with_options(model=name).with_raw_response.generate("a greeting")
        assert (text_of(raw.data), raw.attempts, raw.notes) == ("Hi {{NAME}}", 1, [])
        assert raw.data["usage"]["input_tokens"] > 0 and raw.data["usage"]["output_tokens"] > 0
    kept = client.improve("Say hi to {{NAME}}")
    assert text_of(kept) == "Hi {{NAME}}"
    lost = expect(promptlathe.VariablesChangedError, lambda: client.improve("Say hi to {{WHOM}}"))
    assert (lost.lost, lost.won, lost.attempts) == (["WHOM"], ["NAME"], 2)
    template = client.with_options(model="names").templatize(TEXT, system="You know German")
    assert template["variable_values"] == {"LANGUAGE": "German"}
    assert promptlathe.check_round_trip(TEXT, template, system="You know German") == []
    requests = [{"verb": "generate", "task": str(n)} for n in range(100)]
    assert {text_of(result) for result in client.map(requests)} == {"Hi {{NAME}}"}


def failing(client: Client) -> None:
    """What LiteLLM makes of failures."""

    def over(name: str, kind: type[promptlathe.APIError], **options: Any) -> Any:
        copy = client.with_options(model=name, max_retries=0)
        error = expect(kind, lambda: copy.generate("a greeting", **options))
        print(f"  {name}: {type(error).__name__}, {getattr(error, 'type', None)!r}: {error!s:.120}")
        return error

    assert over("talks", promptlathe.ModelAnswerError).type == "unparsable"
    assert over("busy", promptlathe.RateLimitError).attempts == 1
    over("broken", promptlathe.InternalServerError)
    assert over("unknown", promptlathe.BadRequestError).attempts == 1
    with Client("sk-wrong-key-0123456789", base_url=client.base_url, model="writes") as stranger:
        wrong = expect(promptlathe.APIStatusError, lambda: stranger.generate("a greeting"))
        print(f"  wrong key: {type(wrong).__name__}, {wrong.type!r}")


def translated(client: Client, upstream: Upstream) -> None:
    """Both ways through LiteLLM's translation to chat completions."""
    over = client.with_options(model="translated", max_retries=0)

    def told(content: str | None, finish_reason: str = "stop", refuses: str = "") -> None:
        upstream.requests.clear()
        upstream.content, upstream.finish_reason = content, finish_reason
        upstream.refuses = refuses

    told(SECTIONS)
    raw = over.with_raw_response.generate("a greeting", max_tokens=321)
    assert text_of(raw.data) == "Hi {{NAME}}" and raw.attempts == 1
    usage = raw.data["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (11, 7)
    (request,) = upstream.requests
    assert [turn["role"] for turn in request["messages"]] == ["system", "user"]
    assert request["max_tokens"] == 321 and "temperature" not in request
    print(f"  upstream gets {sorted(request)}")
    print(f"  the client gets {sorted(raw.answers[0])}, id {raw.answers[0]['id']!r}")
    for content, reason, kind in [
        (SECTIONS[:40], "length", "cut_off"),
        (None, "stop", "unparsable"),
        ("", "content_filter", None),  # by version: LiteLLM calls it an end in good order, or not
    ]:
        told(content, reason)
        error = expect(promptlathe.ModelAnswerError, lambda: over.generate("a greeting"))
        assert error.type == kind or (kind is None and error.type in ("unparsable", "refusal"))
        assert error.attempts == 2
        print(f"  finish_reason {reason}, content {content!r:.20}: {error.type}")
    told(SECTIONS, refuses="json_schema is not supported here")
    raw = over.with_raw_response.generate("a greeting")
    shown = ["response_format" in each for each in upstream.requests]
    print(f"  structured output refused upstream: {raw.attempts} requests, schema in {shown}")
    assert text_of(raw.data) == "Hi {{NAME}}" and shown[-1] is False


def main() -> None:
    with Upstream() as upstream:
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        with (
            litellm(sys.argv[1], upstream) as url,
            Client(KEY, base_url=url, model="writes", timeout=60) as client,
        ):
            mocked(client)
            print("LiteLLM's mocked answers: generate, improve, templatize and 100 by map are good")
            print("failures:")
            failing(client)
            print("translated to chat completions and back:")
            translated(client, upstream)
        upstream.shutdown()


if __name__ == "__main__":
    main()
