"""What is tried again, when, and what the service has to say about it."""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest
from promptlathe import (
    APIConnectionError,
    APIResponseValidationError,
    APIStatusError,
    Client,
    ClientClosedError,
    OverloadedError,
    RateLimitError,
)

from faults.outcome import KEY, TASK, client_for
from faults.raw_server import ANSWER, RawServer, answer, close_at_once, each, last, serve

AT_ONCE = "retry-after-ms: 1"
RETRIED = [408, 409, 429, 500, 502, 503, 504, 506, 520, 529, 599]
NOT_RETRIED = [300, 301, 304, 308, 400, 401, 403, 404, 405, 410, 413, 418, 422, 451, 499, 501, 505]


def failed(client: Client, **options: object) -> APIStatusError:
    with pytest.raises(APIStatusError) as caught:
        client.generate(TASK, **options)
    return caught.value


def refusal(status: int, *headers: str, body: bytes = b"{}") -> bytes:
    return answer(status, b"" if status == 304 else body, headers)


# ---- Which statuses -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", RETRIED)
def test_retried(status: int) -> None:
    with (
        RawServer(each(refusal(status, AT_ONCE))) as server,
        client_for(server.url, max_retries=2) as client,
    ):
        raw = client.with_raw_response.generate(TASK)
        assert (raw.data, raw.attempts, server.attempts) == (ANSWER, 2, [1, 2])


@pytest.mark.parametrize("status", NOT_RETRIED)
def test_not_retried(status: int) -> None:
    with RawServer(each(refusal(status, AT_ONCE))) as server, client_for(server.url) as client:
        error = failed(client)
        assert (error.status_code, error.attempts, server.attempts) == (status, 1, [1])
        assert error.retry_after == 0.001
        assert client.generate(TASK) == ANSWER


@pytest.mark.parametrize("status", [201, 202, 204, 206, 299])
def test_another_success_is_not_retried(status: int) -> None:
    response = answer(status, b"" if status == 204 else b"{}", [AT_ONCE, "x-should-retry: true"])
    if status == 204:
        response = response.replace(b"content-length: 0\r\n", b"")
    with RawServer(each(response)) as server, client_for(server.url) as client:
        with pytest.raises(APIResponseValidationError, match=f"its status is {status}") as caught:
            client.generate(TASK)
        assert (caught.value.status_code, caught.value.attempts) == (status, 1)
        assert server.attempts == [1]


def test_unusable_body_is_not_retried() -> None:
    response = answer(200, b"<html>", [AT_ONCE, "x-should-retry: true"])
    with RawServer(each(response)) as server, client_for(server.url) as client:
        with pytest.raises(APIResponseValidationError) as caught:
            client.generate(TASK)
        assert (caught.value.attempts, server.attempts) == (1, [1])


@pytest.mark.parametrize("status", [400, 404, 501, 505, 301, 429])
def test_should_retry_is_obeyed(status: int) -> None:
    with (
        RawServer(each(refusal(status, AT_ONCE, "x-should-retry: true"))) as server,
        client_for(server.url) as client,
    ):
        assert client.generate(TASK) == ANSWER
        assert server.attempts == [1, 2]


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 529])
def test_should_not_retry_is_obeyed(status: int) -> None:
    with (
        RawServer(each(refusal(status, AT_ONCE, "x-should-retry: false"))) as server,
        client_for(server.url) as client,
    ):
        assert failed(client).attempts == 1
        assert server.attempts == [1]


@pytest.mark.parametrize("word", ["maybe", "", "1", "yes"])
@pytest.mark.parametrize(("status", "attempts"), [(500, 2), (400, 1)])
def test_should_retry_of_another_word_is_nothing(word: str, status: int, attempts: int) -> None:
    response = refusal(status, AT_ONCE, f"x-should-retry: {word}")
    with RawServer(each(*[response] * 2)) as server, client_for(server.url) as client:
        assert failed(client).attempts == attempts
        assert server.attempts == [1, 2][:attempts]


@pytest.mark.parametrize("code", ["enforced_spend_limit_reached", "contract_spend_limit_reached"])
@pytest.mark.parametrize("header", ["x-ignored: 1", "x-should-retry: true"])
def test_spend_limit_is_not_retried(code: str, header: str) -> None:
    fault = {"type": "rate_limit_error", "message": "No more.", "details": {"error_code": code}}
    body = json.dumps({"type": "error", "error": fault}).encode()
    with (
        RawServer(each(refusal(429, AT_ONCE, header, body=body))) as server,
        client_for(server.url) as client,
    ):
        error = failed(client)
        assert type(error) is RateLimitError
        assert (error.attempts, server.attempts) == (1, [1])


DETAILS = [{"error_code": "another"}, {"error_code": 7}, "enforced_spend_limit_reached", None, {}]


@pytest.mark.parametrize("details", DETAILS)
def test_429_with_other_details_is_retried(details: object) -> None:
    body = json.dumps({"type": "error", "error": {"details": details}}).encode()
    with (
        RawServer(each(refusal(429, AT_ONCE, body=body))) as server,
        client_for(server.url) as client,
    ):
        assert client.generate(TASK) == ANSWER


def test_spend_limit_of_another_status_is_retried() -> None:
    body = b'{"error":{"details":{"error_code":"enforced_spend_limit_reached"}}}'
    with (
        RawServer(each(refusal(500, AT_ONCE, body=body))) as server,
        client_for(server.url) as client,
    ):
        assert client.generate(TASK) == ANSWER


# ---- How often ----------------------------------------------------------------------------------


@pytest.mark.parametrize("retries", [0, 1, 2, 5])
def test_number_of_attempts(retries: int) -> None:
    with (
        RawServer(each(*[refusal(529, AT_ONCE)] * (retries + 1))) as server,
        client_for(server.url, max_retries=9) as client,
    ):
        error = failed(client, max_retries=retries)
        assert type(error) is OverloadedError
        assert error.attempts == retries + 1
        assert server.attempts == [*range(1, retries + 2)]
        told = f"after {retries + 1} attempts"
        assert (told in str(error)) == (retries > 0)
        assert client.generate(TASK) == ANSWER


def test_two_retries_unless_told_otherwise() -> None:
    with (
        RawServer(each(*[refusal(500, AT_ONCE)] * 3)) as server,
        Client(KEY, base_url=server.url) as client,
    ):
        assert failed(client).attempts == 3
        assert server.attempts == [1, 2, 3]


def test_requests_of_one_call_are_equal() -> None:
    with RawServer(each(*[refusal(500, AT_ONCE)] * 2)) as server:
        with client_for(server.url, max_retries=2) as client:
            client.generate(TASK)
        first, *more = server.requests
        for request in more:
            assert (request.line, request.body) == (first.line, first.body)
            assert {**request.headers, "x-promptlathe-attempt": "1"} == first.headers


def test_faults_of_every_kind_count_together() -> None:
    """A refused request, a connection that breaks and a failing service are three attempts."""
    handlers = [close_at_once, last(refusal(503, AT_ONCE)), last(answer()[:-3]), serve]
    with RawServer(*handlers) as server, client_for(server.url, max_retries=3) as client:
        raw = client.with_raw_response.generate(TASK)
        assert (raw.data, raw.attempts) == (ANSWER, 4)
        assert server.attempts == [2, 3, 4]


def test_error_is_that_of_the_last_attempt() -> None:
    responses = [refusal(503, AT_ONCE), refusal(429, "retry-after: 77", "request-id: req_2")]
    with RawServer(each(*responses)) as server, client_for(server.url) as client:
        error = failed(client)
        assert type(error) is RateLimitError
        assert (error.attempts, error.retry_after, error.request_id) == (2, 77, "req_2")


# ---- When ---------------------------------------------------------------------------------------


def gaps(server: RawServer) -> list[float]:
    """Seconds between one request and the next."""
    times = [request.at for request in server.requests]
    return [after - before for before, after in itertools.pairwise(times)]


def test_back_off_doubles_less_up_to_a_quarter() -> None:
    with RawServer(each(*[refusal(500)] * 3)) as server:
        with client_for(server.url, timeout=20, max_retries=3) as client:
            assert client.generate(TASK) == ANSWER
        seen = gaps(server)
        for gap, least, most in zip(seen, (0.375, 0.75, 1.5), (0.5, 1, 2), strict=True):
            assert least <= gap <= most + 0.5, f"{seen} s"


class Stopper(logging.Handler):
    """Keeps what a retry is said to wait, and closes the client, so that nobody waits."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.client: Client | None = None
        self.delays: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert isinstance(record.args, tuple)
        delay = record.args[3]
        assert isinstance(delay, float)
        self.delays.append(delay)
        assert self.client is not None
        self.client.close()


@pytest.fixture
def stopper() -> Iterator[Stopper]:
    handler = Stopper()
    logger = logging.getLogger("promptlathe")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def planned(
    stopper: Stopper, *headers: str, status: int = 429, timeout: float | None = 600
) -> float:
    """What the client means to wait after such an answer; it is closed instead of waiting."""
    with RawServer(each(refusal(status, *headers))) as server:
        stopper.client = client_for(server.url, timeout=timeout)
        started = time.monotonic()
        with pytest.raises(ClientClosedError):
            stopper.client.generate(TASK)
        assert time.monotonic() - started < 2
        assert len(server.requests) == 1
    return stopper.delays.pop()


def test_first_back_off_is_between_three_eighths_and_a_half(stopper: Stopper) -> None:
    delays = [planned(stopper, status=500) for _ in range(20)]
    assert all(0.375 <= delay <= 0.5 for delay in delays), delays
    assert len(set(delays)) > 10, delays


def test_hint_gets_up_to_a_fifth_more(stopper: Stopper) -> None:
    delays = [planned(stopper, "retry-after: 50") for _ in range(20)]
    assert all(50 <= delay <= 60 for delay in delays), delays
    assert len(set(delays)) > 10, delays


def test_hint_of_two_minutes_is_slept(stopper: Stopper) -> None:
    assert 120 <= planned(stopper, "retry-after: 120") <= 144
    assert 120 <= planned(stopper, "retry-after: 120", timeout=None) <= 144


def test_hint_without_its_fifth_when_only_that_fits(stopper: Stopper) -> None:
    """What is added at random must not cost a call that the hint itself leaves room for."""
    delays = [planned(stopper, "retry-after: 50", timeout=50.5) for _ in range(10)]
    assert all(50 <= delay < 50.5 for delay in delays), delays


@pytest.mark.parametrize("hint", ["120.5", "121", "86400", "1000000000"])
def test_hint_beyond_two_minutes_is_raised_at_once(hint: str) -> None:
    with (
        RawServer(each(refusal(429, f"retry-after: {hint}"))) as server,
        client_for(server.url, timeout=None) as client,
    ):
        started = time.monotonic()
        error = failed(client)
        assert time.monotonic() - started < 1
        assert (error.attempts, server.attempts) == (1, [1])
        assert error.retry_after == float(hint)
        assert client.generate(TASK) == ANSWER


def test_hint_is_slept() -> None:
    with RawServer(each(refusal(503, "retry-after: 0.3"))) as server:
        with client_for(server.url) as client:
            assert client.generate(TASK) == ANSWER
        [gap] = gaps(server)
        assert 0.3 <= gap <= 0.36 + 0.5, f"{gap:.3f} s"


def test_hint_of_any_retried_fault_counts() -> None:
    with RawServer(each(refusal(400, "retry-after-ms: 200", "x-should-retry: true"))) as server:
        with client_for(server.url) as client:
            assert client.generate(TASK) == ANSWER
        [gap] = gaps(server)
        assert 0.2 <= gap <= 0.24 + 0.5, f"{gap:.3f} s"


# ---- Every form of the hints, read from the error at once ---------------------------------------

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
FORMS = [
    (["retry-after: 7"], 7),
    (["retry-after: 0.25"], 0.25),
    (["retry-after: 7."], 7),
    (["retry-after: .5"], 0.5),
    (["retry-after:    7   "], 7),
    (["Retry-After: 7"], 7),
    (["retry-after: 007"], 7),
    (["retry-after: " + "9" * 400], None),
    (["retry-after: 0"], None),
    (["retry-after: 0.0"], None),
    (["retry-after: -3"], None),
    (["retry-after: +3"], None),
    (["retry-after: nan"], None),
    (["retry-after: inf"], None),
    (["retry-after: Infinity"], None),
    (["retry-after: 1,5"], None),
    (["retry-after: 7 seconds"], None),
    (["retry-after: soon"], None),
    (["retry-after:"], None),
    (["retry-after: 0x10"], None),
    (["retry-after: 3", "retry-after: 5"], None),
    (["retry-after-ms: 1500"], 1.5),
    (["retry-after-ms: 0.5"], 0.0005),
    (["retry-after-ms: 1500", "retry-after: 9"], 1.5),
    (["retry-after: 9", "retry-after-ms: 1500"], 1.5),
    (["retry-after-ms: soon", "retry-after: 9"], 9),
    (["retry-after-ms: 0", "retry-after: 9"], 9),
    (["retry-after-ms: -5", "retry-after: 9"], 9),
    (["retry-after-ms: nan", "retry-after: 9"], 9),
    (["retry-after-ms: inf", "retry-after: 9"], 9),
    (["retry-after-ms:", "retry-after: 9"], 9),
    ([f"date: {DATE}", "retry-after: Sun, 06 Nov 1994 08:49:47 GMT"], 10),
    ([f"date: {DATE}", "retry-after: Sunday, 06-Nov-94 08:49:47 GMT"], 10),
    ([f"date: {DATE}", "retry-after: Sun Nov  6 08:49:47 1994"], 10),
    ([f"date: {DATE}", f"retry-after: {DATE}"], None),
    ([f"date: {DATE}", "retry-after: Sun, 06 Nov 1994 08:49:27 GMT"], None),
    ([f"date: {DATE}", "retry-after: Sun, 06 Nov 1994"], None),
    ([], None),
]


@pytest.mark.parametrize(("headers", "expected"), FORMS, ids=[" & ".join(f[0])[:70] for f in FORMS])
def test_form_of_hint(headers: list[str], expected: float | None) -> None:
    with (
        RawServer(each(refusal(429, *headers))) as server,
        client_for(server.url, max_retries=0) as client,
    ):
        assert failed(client).retry_after == (expected and pytest.approx(expected))


def test_date_without_the_services_clock_goes_by_ours() -> None:
    with (
        RawServer(
            each(refusal(429, f"retry-after: {formatdate(time.time() + 60, usegmt=True)}"))
        ) as s,
        client_for(s.url, max_retries=0) as client,
    ):
        error = failed(client)
    assert error.retry_after is not None and 55 <= error.retry_after <= 61


def test_transport_fault_has_no_hint() -> None:
    with (
        RawServer(last(answer(headers=["retry-after: 9"])[:-3])) as server,
        client_for(server.url, max_retries=0) as client,
    ):
        with pytest.raises(APIConnectionError, match="read failed") as caught:
            client.generate(TASK)
        assert caught.value.retry_after is None
