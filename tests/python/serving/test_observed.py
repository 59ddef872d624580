"""What is seen from outside: the log, the metrics and the health; no prompt and no key in them."""

from __future__ import annotations

import json
import logging
import re
from datetime import datetime
from io import StringIO
from typing import Any

import pytest
from promptlathe.mock import Server
from promptlathe.serve import create_app
from promptlathe.serve.log import Forward, Lines
from promptlathe.serve.record import Record

from .server import GENERATE, HEADERS, IMPROVE, KEY, TASK, Running, running


def test_an_entry_for_each_request(proxy: Running, upstream: Server) -> None:
    reply = proxy.ask()
    (entry,) = proxy.log.wait()
    seconds = entry.pop("seconds")
    assert 0 < seconds < 30
    usage = reply.json["usage"]
    assert entry == {
        "request_id": reply.headers["request-id"],
        "method": "POST",
        "path": GENERATE,
        "status": 200,
        "upstream_attempts": 1,
        "upstream_request_id": upstream.requests[0].request_id,
        "input_tokens": usage["input_tokens"],
        "output_tokens": usage["output_tokens"],
    }


def test_ids_differ(simulated: Running) -> None:
    ids = {simulated.ask().headers["request-id"] for _ in range(20)}
    assert len(ids) == 20 and all(re.fullmatch(r"req_[0-9a-f]{24}", id_) for id_ in ids)


def test_what_callers_make_up_is_not_told(simulated: Running) -> None:
    simulated.ask("/secret-path?secret-query", "secret-body", {"x-secret": "h"}, "PROPFIND")
    simulated.ask(GENERATE + "?secret-query", '{"secret-member": 1}')
    first, second = simulated.log.wait(2)
    assert (first["method"], first["path"], first["error"]) == ("other", "other", "not_found_error")
    assert (second["path"], second["status"]) == (GENERATE, 400)
    assert "secret" not in str([first, second]).lower()
    assert "secret" not in simulated.ask("/metrics", None, {}, "GET").body.decode().lower()


@pytest.mark.parametrize("usage", [{"input_tokens": "7"}, [], None, "x", {"input_tokens": True}])
def test_a_usage_that_tells_nothing(usage: object) -> None:
    record = Record("POST", GENERATE)
    record.note_usage(usage)
    assert record.input_tokens is None and record.output_tokens is None


def test_a_usage_that_is_a_list_is_summed() -> None:
    record = Record("POST", GENERATE)
    record.note_usage([{"input_tokens": 1, "output_tokens": 2}, {"input_tokens": 3}])
    assert (record.input_tokens, record.output_tokens) == (4, 2)


def test_neither_prompts_nor_keys(proxy: Running, upstream: Server) -> None:
    upstream.script([None, {"status": 500}, {"close": "before"}])
    for body in (f'{{"task": "{TASK}"}}', f'{{"task": "{TASK}"}}', f'{{"task": "{TASK}"}}', TASK):
        proxy.ask(body=body)
    entries = json.dumps(proxy.log.wait(4))
    metrics = proxy.ask("/metrics", None, {}, "GET").body.decode()
    for secret in (TASK, "zeppelin", KEY, KEY[:10], KEY[-10:]):
        assert secret not in entries and secret not in metrics


def test_lines_are_json_with_the_time_first() -> None:
    stream = StringIO()
    write = Lines(stream)
    write({"status": 200})
    write({"message": "two\nlines"})
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert next(iter(first)) == "time" and first["time"].endswith("Z")
    assert datetime.fromisoformat(first["time"]).utcoffset() is not None
    assert second["message"] == "two\nlines"


def test_a_log_that_nobody_reads_ends_nothing() -> None:
    stream = StringIO()
    write = Lines(stream)
    stream.close()
    write({"status": 200})


def test_what_libraries_log_is_told_without_what_it_is_about() -> None:
    entries: list[dict[str, Any]] = []
    logger = logging.Logger("library")
    logger.addHandler(Forward(entries.append))
    try:
        raise KeyError(TASK)
    except KeyError as error:
        logger.exception("Task exception was never retrieved\nexception=%r", error)
    (entry,) = entries
    assert entry["message"] == "Task exception was never retrieved"
    assert (entry["level"], entry["fault"]) == ("error", "KeyError")
    assert TASK not in str(entry)


# ---- Metrics and health -------------------------------------------------------------------------


def test_metrics_count_by_endpoint_and_status(upstream: Server) -> None:
    with running(model="m", upstream=upstream.url) as server:
        usage = server.ask().json["usage"]
        server.ask(IMPROVE, "{}")
        server.ask("/unknown")
        found = server.metrics()
        reply = server.ask("/metrics", None, {}, "GET")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert found[f'promptlathe_requests_total{{endpoint="{GENERATE}",status="200"}}'] == 1
    assert found[f'promptlathe_requests_total{{endpoint="{IMPROVE}",status="400"}}'] == 1
    assert found['promptlathe_requests_total{endpoint="other",status="404"}'] == 1
    assert found[f'promptlathe_request_seconds_count{{endpoint="{GENERATE}"}}'] == 1
    assert found["promptlathe_upstream_attempts_total"] == 1
    for kind in ("input", "output"):
        name = f'promptlathe_upstream_tokens_total{{kind="{kind}"}}'
        assert found[name] == usage[f"{kind}_tokens"] > 0


def test_applications_of_one_process_do_not_clash() -> None:
    with running(simulated=True) as one, running(simulated=True) as two:
        one.ask()
        total = f'promptlathe_requests_total{{endpoint="{GENERATE}",status="200"}}'
        assert one.metrics()[total] == 1
        assert total not in two.metrics()
    assert create_app(simulated=True).metrics.registry is not one.app.metrics.registry


def test_health(simulated: Running) -> None:
    reply = simulated.ask("/healthz", None, {}, "GET")
    assert (reply.status, reply.json) == (200, {"status": "ok"})
    assert simulated.ask("/healthz", None, {}, "HEAD").status == 200
    assert simulated.ask("/healthz", "{}", HEADERS).status == 404
