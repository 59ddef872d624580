"""TLS rows: who is believed, how a certificate fails, and handshakes that go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from promptlathe import (
    APIConnectionError,
    APITimeoutError,
    AsyncClient,
    Client,
    ConfigurationError,
    Timeout,
)

from faults.conftest import Child
from faults.outcome import TASK, Outcome, client_for, failure, seen
from faults.raw_server import (
    ANSWER,
    PATIENCE,
    Connection,
    Handler,
    RawServer,
    answer,
    close_unanswered,
    each,
    last,
    serve,
    silent,
)
from faults.tls import Authority


@pytest.fixture(autouse=True)
def no_authorities_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def over_tls(context: ssl.SSLContext, handler: Handler = serve) -> Handler:
    """A handler behind a handshake."""

    def handle(connection: Connection) -> None:
        connection.tls(context)
        handler(connection)

    return handle


def https(server: RawServer, host: str = "127.0.0.1") -> str:
    return f"https://{host}:{server.port}"


def trusting(authority: Authority, url: str, **options: Any) -> Client:
    return client_for(url, ca_file=str(authority.file), **options)


# ---- What is trusted ----------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_trusted_by_argument(authority: Authority, host: str) -> None:
    with (
        RawServer(over_tls(authority.issue(host))) as server,
        trusting(authority, https(server, host)) as client,
    ):
        for _ in range(3):
            assert client.generate(TASK) == ANSWER
        assert len(server.connections) == 1


def test_path_is_accepted_for_ca_file(authority: Authority) -> None:
    with (
        RawServer(over_tls(authority.issue("127.0.0.1"))) as server,
        client_for(https(server), ca_file=authority.file) as client,
    ):
        assert client.generate(TASK) == ANSWER


def test_trusted_by_environment(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(over_tls(authority.issue("127.0.0.1"))) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        with client_for(https(server)) as client:
            assert client.generate(TASK) == ANSWER
        monkeypatch.delenv("SSL_CERT_FILE")
        monkeypatch.setenv("SSL_CERT_DIR", str(authority.hashed_folder()))
        with client_for(https(server)) as client:
            assert client.generate(TASK) == ANSWER


def test_argument_stops_the_look_up(
    authority: Authority, stranger: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(stranger.file))
    with RawServer(over_tls(authority.issue("127.0.0.1"))) as server:
        with trusting(authority, https(server)) as client:
            assert client.generate(TASK) == ANSWER
        with client_for(https(server)) as client:
            assert failure(client, APIConnectionError).phase == "tls"


def test_sessions_differ_by_client(authority: Authority, stranger: Authority) -> None:
    """What one client was told to trust is nothing to another."""
    with RawServer(over_tls(stranger.issue("127.0.0.1"))) as server:
        with trusting(stranger, https(server)) as client:
            assert client.generate(TASK) == ANSWER
        with trusting(authority, https(server)) as client:
            assert failure(client, APIConnectionError).attempts == 1


class Resumptions:
    """A handler that answers one request per connection, and notes which ones resumed a session."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.seen: list[bool | None] = []
        self._context = context

    def __call__(self, connection: Connection) -> None:
        connection.tls(self._context)
        assert isinstance(connection.sock, ssl.SSLSocket)
        self.seen.append(connection.sock.session_reused)
        connection.request()
        connection.send(answer(headers=["connection: close"]))
        with contextlib.suppress(OSError):
            connection.sock.unwrap()  # else TLS 1.2 gives the session up

    def take(self) -> list[bool | None]:
        seen, self.seen = self.seen, []
        return seen


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(authority: Authority, version: ssl.TLSVersion) -> None:
    """By all that are made from one client, and by nobody else."""
    context = authority.issue("127.0.0.1")
    context.maximum_version = version
    handler = Resumptions(context)
    with RawServer(handler) as server, trusting(authority, https(server)) as client:
        for _ in range(3):
            assert client.generate(TASK) == ANSWER
        assert handler.take() == [False, True, True]
        assert client.with_options(max_retries=0).generate(TASK) == ANSWER
        assert list(client.map([{"verb": "generate", "task": TASK}])) == [ANSWER]
        assert handler.take() == [True, True]
        with trusting(authority, https(server)) as other:
            assert other.generate(TASK) == ANSWER
        assert handler.take() == [False]


def test_sessions_are_resumed_in_another_loop(authority: Authority) -> None:
    handler = Resumptions(authority.issue("127.0.0.1"))
    with RawServer(handler) as server:
        client = AsyncClient("a-key", base_url=https(server), ca_file=authority.file)
        for _ in range(2):
            assert asyncio.run(client.generate(TASK)) == ANSWER
        asyncio.run(client.close())
    assert handler.take() == [False, True]


# ---- Faults of certificates: never tried again --------------------------------------------------


def untrusted(authority: Authority, stranger: Authority) -> ssl.SSLContext:
    return stranger.issue("127.0.0.1")


def expired(authority: Authority, stranger: Authority) -> ssl.SSLContext:
    return authority.issue("127.0.0.1", expired=True)


def another_address(authority: Authority, stranger: Authority) -> ssl.SSLContext:
    return authority.issue("127.0.0.2")


def another_host(authority: Authority, stranger: Authority) -> ssl.SSLContext:
    return authority.issue("elsewhere.invalid")


CERTIFICATES = {
    "untrusted": (untrusted, "certificate"),
    "expired": (expired, "expired"),
    "for another address": (another_address, "127.0.0.1"),
    "for another host": (another_host, "127.0.0.1"),
}


@pytest.mark.parametrize(("make", "words"), CERTIFICATES.values(), ids=CERTIFICATES.keys())
@pytest.mark.fault("TLS", "certificate {id}")
def test_certificate_fault(
    make: Callable[[Authority, Authority], ssl.SSLContext],
    words: str,
    authority: Authority,
    stranger: Authority,
) -> None:
    handlers = [over_tls(make(authority, stranger)), over_tls(authority.issue("127.0.0.1"))]
    with RawServer(*handlers) as server, trusting(authority, https(server)) as client:
        error = failure(client, APIConnectionError, within=2)
        assert (error.phase, error.attempts) == ("tls", 1)
        assert words in str(error)
        assert (error.host, error.address) == ("127.0.0.1", "127.0.0.1")
        assert (len(server.connections), server.requests) == (1, [])
        assert client.generate(TASK) == ANSWER


def test_nothing_in_the_environment_turns_verification_off(
    authority: Authority, stranger: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONHTTPSVERIFY", "SSL_VERIFY", "CURL_SSL_VERIFYPEER"):
        monkeypatch.setenv(name, "0")
    for name in ("CURL_INSECURE", "SSL_NO_VERIFY", "INSECURE"):
        monkeypatch.setenv(name, "1")
    with RawServer(over_tls(stranger.issue("127.0.0.1"))) as server:
        with trusting(authority, https(server)) as client:
            assert failure(client, APIConnectionError).phase == "tls"
        assert server.requests == []


LOOSE_OPENSSL = """\
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = loose
[loose]
MinProtocol = TLSv1
VerifyMode = None
CipherString = ALL:@SECLEVEL=0
"""


@pytest.fixture
def loose_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a user that allow what they can, for libraries and tools that read them."""
    (tmp_path / "openssl.cnf").write_text(LOOSE_OPENSSL)
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login alice password wonderland\n")
    (tmp_path / ".curlrc").write_text("insecure\nuser = alice:wonderland\n")
    monkeypatch.setenv("OPENSSL_CONF", str(tmp_path / "openssl.cnf"))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("HOME", "CURL_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))


@pytest.mark.usefixtures("loose_home")
def test_no_file_of_the_user_turns_verification_off_or_adds_credentials(
    authority: Authority, stranger: Authority, child: Child
) -> None:
    for context in (stranger.issue("127.0.0.1"), tls_1_1(authority)):
        with RawServer(over_tls(context)) as server:
            ended = child("one_call", https(server), authority.file)
            assert ended.stdout.startswith("tls "), ended
            assert server.requests == []
    with RawServer(over_tls(authority.issue("127.0.0.1"))) as server:
        assert child("one_call", https(server), authority.file).stdout == "fine\n"
        assert "authorization" not in server.requests[0].headers


def test_what_an_answer_wants_remembered_is_not(authority: Authority) -> None:
    """No cookies, no HSTS, no alternative service."""
    elsewhere = 'h2="127.0.0.1:9", http/1.1="127.0.0.1:9"'
    wishes = ["set-cookie: a=b; path=/", "strict-transport-security: max-age=9999",
              f"alt-svc: {elsewhere}; ma=9999"]  # fmt: skip
    handler = over_tls(authority.issue("127.0.0.1"), each(answer(headers=wishes)))
    with RawServer(handler) as server, trusting(authority, https(server)) as client:
        for _ in range(2):
            assert client.with_raw_response.generate(TASK).attempts == 1
        assert ["cookie" in request.headers for request in server.requests] == [False, False]


def test_keys_are_logged_where_the_environment_says(
    authority: Authority, child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As curl does, and as README says."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    with RawServer(over_tls(authority.issue("127.0.0.1"))) as server:
        assert child("one_call", https(server), authority.file).stdout == "fine\n"
    assert "TRAFFIC_SECRET" in (tmp_path / "keys").read_text()


# ---- Authorities that cannot be read ------------------------------------------------------------


@pytest.mark.fault("TLS", "CA file missing")
def test_missing_ca_file_is_refused_by_the_constructor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "no-such.pem"
    with pytest.raises(ConfigurationError, match=r"ca_file: .*no-such\.pem"):
        client_for("https://127.0.0.1", ca_file=str(missing))
    seen.append(Outcome("ConfigurationError", "", 0, 0.0))  # and no call is made
    with pytest.raises(ConfigurationError, match="ca_file"):
        client_for("https://127.0.0.1", ca_file=str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(missing))
    with pytest.raises(ConfigurationError, match=r"SSL_CERT_FILE: .*no-such\.pem"):
        client_for("https://127.0.0.1")
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("SSL_CERT_DIR", str(missing))
    with pytest.raises(ConfigurationError, match=r"SSL_CERT_DIR: .*no-such\.pem"):
        client_for("https://127.0.0.1")


GARBAGE = {
    "empty": b"",
    "bytes": bytes(range(256)) * 50,
    "text": b"certificates would stand here\n" * 500,
    "a key": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE.keys())
def test_file_without_certificates_is_refused_by_the_constructor(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "garbage.pem"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"ca_file: .*garbage\.pem holds no certificate"):
        client_for("https://127.0.0.1", ca_file=str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(ConfigurationError, match=r"SSL_CERT_FILE: .*garbage\.pem holds no cert"):
        client_for("https://127.0.0.1")


def test_damaged_certificate_is_an_error_of_configuration(
    authority: Authority, tmp_path: Path
) -> None:
    path = tmp_path / "damaged.pem"
    lines = authority.file.read_text().splitlines()
    path.write_text("\n".join([lines[0], "????", *lines[2:]]) + "\n")
    with RawServer(over_tls(authority.issue("127.0.0.1"))) as server:
        with client_for(https(server), ca_file=str(path)) as client:
            error = failure(client, ConfigurationError)
            assert "damaged.pem" in str(error)
        assert server.requests == []


def test_text_around_certificates_is_allowed(authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "commented.pem"
    path.write_text("# " + "who we trust\n" * 3000 + authority.file.read_text() + "and no more\n")
    with (
        RawServer(over_tls(authority.issue("127.0.0.1"))) as server,
        client_for(https(server), ca_file=str(path)) as client,
    ):
        assert client.generate(TASK) == ANSWER


# ---- Handshakes that go wrong: tried again ------------------------------------------------------


def speaks_plainly(connection: Connection) -> None:
    connection.receive()
    connection.send(answer())


def leaves_in_the_handshake(connection: Connection) -> None:
    connection.receive()


def resets_in_the_handshake(connection: Connection) -> None:
    connection.receive()
    connection.reset()


HANDSHAKES = {
    "closed": leaves_in_the_handshake,
    "reset": resets_in_the_handshake,
    "not TLS at all": speaks_plainly,
}


@pytest.mark.parametrize("handler", HANDSHAKES.values(), ids=HANDSHAKES.keys())
@pytest.mark.fault("TLS", "handshake: {id}")
def test_broken_handshake_is_tried_again(handler: Handler, authority: Authority) -> None:
    good = over_tls(authority.issue("127.0.0.1"))
    with (
        RawServer(handler, handler, good) as server,
        trusting(authority, https(server)) as client,
    ):
        error = failure(client, APIConnectionError, within=2)
        assert (error.phase, error.attempts, len(server.connections)) == ("tls", 2, 2)
        assert client.generate(TASK) == ANSWER


@pytest.mark.fault("TLS", "handshake that stalls, both times")
def test_stalled_handshake_is_ended_by_the_time_to_connect(authority: Authority) -> None:
    good = over_tls(authority.issue("127.0.0.1"))
    timeout = Timeout(total=5, connect=0.3)
    with (
        RawServer(silent, silent, good) as server,
        trusting(authority, https(server)) as client,
    ):
        error = failure(client, APITimeoutError, within=2.5, after=0.6, timeout=timeout)
        assert (error.phase, error.attempts, len(server.connections)) == ("tls", 2, 2)
        assert "connect timeout of 0.3 s" in str(error)
        assert client.generate(TASK) == ANSWER


@pytest.mark.fault("TLS", "handshake that stalls, no time to connect set")
def test_stalled_handshake_is_ended_by_the_deadline(authority: Authority) -> None:
    with RawServer(silent) as server, trusting(authority, https(server)) as client:
        timeout = Timeout(total=0.3, connect=None)
        error = failure(client, APITimeoutError, within=1.3, after=0.3, timeout=timeout)
        assert (error.phase, error.attempts) == ("tls", 1)


def tls_1_1(authority: Authority) -> ssl.SSLContext:
    old = authority.issue("127.0.0.1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1_1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    return old


@pytest.mark.fault("TLS", "TLS 1.1, no retries")
def test_tls_before_1_2_is_refused(authority: Authority) -> None:
    with (
        RawServer(over_tls(tls_1_1(authority))) as server,
        trusting(authority, https(server), max_retries=0) as client,
    ):
        error = failure(client, APIConnectionError, within=2)
        assert (error.phase, server.requests) == ("tls", [])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_pass(version: ssl.TLSVersion, authority: Authority) -> None:
    context = authority.issue("127.0.0.1")
    context.minimum_version = context.maximum_version = version
    with RawServer(over_tls(context)) as server, trusting(authority, https(server)) as client:
        raw = client.with_raw_response.generate(TASK)
        assert (raw.data, raw.attempts) == (ANSWER, 1)


# ---- Behind the handshake -----------------------------------------------------------------------

BEHIND = {
    "closed before the response": (close_unanswered, "wait"),
    "closed within the body": (last(answer()[:-5]), "read"),
    "closed within the headers": (last(b"HTTP/1.1 200 OK\r\ncontent-"), "read"),
    "body ended by close": (last(b"HTTP/1.1 200 OK\r\n\r\n{}"), "read"),
}


@pytest.mark.parametrize(("handler", "phase"), BEHIND.values(), ids=BEHIND.keys())
@pytest.mark.fault("TLS", "behind the handshake: {id}")
def test_faults_behind_the_handshake(handler: Handler, phase: str, authority: Authority) -> None:
    context = authority.issue("127.0.0.1")
    bad = over_tls(context, handler)
    with (
        RawServer(bad, bad, over_tls(context)) as server,
        trusting(authority, https(server)) as client,
    ):
        error = failure(client, APIConnectionError, within=2)
        assert (error.phase, error.attempts) == (phase, 2), str(error)
        assert server.attempts == [1, 2]
        assert client.generate(TASK) == ANSWER


# ---- Connections that are used again ------------------------------------------------------------


def say_goodbye(connection: Connection) -> None:
    """The end of TLS, without waiting for the other side's."""
    assert isinstance(connection.sock, ssl.SSLSocket)
    connection.sock.settimeout(0)
    with contextlib.suppress(OSError):
        connection.sock.unwrap()


@pytest.mark.parametrize("goodbye", [True, False], ids=["in good order", "without a word"])
def test_connection_closed_while_idle_costs_no_attempt(authority: Authority, goodbye: bool) -> None:
    def once(connection: Connection) -> None:
        connection.request()
        connection.send(answer())
        if goodbye:
            say_goodbye(connection)
        connection.close()
        closed.set()

    closed = threading.Event()
    context = authority.issue("127.0.0.1")
    with (
        RawServer(over_tls(context, once), over_tls(context)) as server,
        trusting(authority, https(server), max_retries=0) as client,
    ):
        assert client.generate(TASK) == ANSWER
        assert closed.wait(PATIENCE)
        assert client.generate(TASK) == ANSWER
        assert server.attempts == [1, 1]


def test_calls_at_once_do_not_wait_for_the_first_answer(authority: Authority) -> None:
    """That a connection carries one request alone is known before that one is answered."""
    answers = threading.Event()

    def held(connection: Connection) -> None:
        connection.request()
        connection.wait(answers)
        connection.send(answer())

    with (
        RawServer(over_tls(authority.issue("127.0.0.1"), held)) as server,
        trusting(authority, https(server), timeout=30) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        # They begin in one step, while the first connection is still being made.
        calls = pool.submit(lambda: list(client.map([{"verb": "generate", "task": TASK}] * 4)))
        try:
            server.wait_for_requests(4)
        finally:
            answers.set()
        assert calls.result() == [ANSWER] * 4
        assert server.attempts == [1] * 4
