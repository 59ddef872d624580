"""The simulated service's front: sockets, threads, what was received and what is scripted."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from promptlathe.server import handler, http1, listening, simulated
from promptlathe.server import script as steps
from promptlathe.server.recorded import Request


class Server:
    """A simulated service.

    Parameters
    ----------
    host
        The address to listen on. Only the loopback unless told otherwise.
    port
        The port; 0 for any free one.
    api_key
        The only key (or bearer token) that is accepted. None: any that is not empty.
    gzip
        Whether answers are compressed for clients that accept it.
    max_body_bytes
        A longer request body is answered by a 413. The vendor's limit by default.
    on_answer
        Called with the request, the status sent (None: nothing was) and the seconds it took, from
        the connection's thread.

    Notes
    -----
    Every method may be called from any thread. Each connection has a thread of its own; `close`
    ends them all, whatever they wait for. After `close` the server may be started again.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        api_key: str | None = None,
        gzip: bool = False,
        max_body_bytes: int = handler.MAX_BODY_BYTES,
        on_answer: Callable[[Request, int | None, float], None] | None = None,
    ) -> None:
        self._address = (host, port)
        self._api_key = api_key
        self._gzip = gzip
        self._max_body_bytes = max_body_bytes
        self._on_answer = on_answer
        self._changed = threading.Condition()  # guards what follows
        self._requests: list[Request] = []
        self._steps: list[steps.Scripted] = []
        self._errors: list[BaseException] = []
        self._threads: set[threading.Thread] = set()
        self._count = self._connections = self._ended = 0
        self._listener: socket.socket | None = None
        self._stop: tuple[int, int] = (-1, -1)
        self._process = 0
        self._url = ""

    # ---- Life ------------------------------------------------------------------------------------

    def start(self) -> Server:
        """Listen, and answer from threads of its own.

        Returns
        -------
        Server
            Itself.

        Raises
        ------
        RuntimeError
            When it runs already.
        OSError
            When the address cannot be listened on.
        """
        if self._listener is not None:
            raise RuntimeError("the server is running already")
        self._listener = listening.listen(*self._address)
        self._stop, self._process = os.pipe(), os.getpid()
        self._url = listening.url_of(self._listener)
        self._spawn(self._accept, self._listener)
        return self

    def close(self) -> None:
        """Stop listening, end every connection, wait for the threads. May be called twice."""
        if self._listener is None:
            return
        if os.getpid() == self._process:  # a fork's child has copies of descriptors, no threads
            os.write(self._stop[1], b"!")  # never read: every wait sees it
            self._join()
        self._listener.close()
        for descriptor in self._stop:
            os.close(descriptor)
        self._listener, self._url = None, ""

    def _join(self) -> None:
        me = threading.current_thread()
        while others := [thread for thread in self._living() if thread is not me]:
            for thread in others:
                thread.join()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The base URL, such as ``http://127.0.0.1:49152``."""
        if not self._url:
            raise RuntimeError("the server is not running: use it as a context manager, or start()")
        return self._url

    # ---- What it received ------------------------------------------------------------------------

    @property
    def requests(self) -> list[Request]:
        """The complete requests so far, in the order in which they were complete."""
        with self._changed:
            return list(self._requests)

    @property
    def connections(self) -> int:
        """How many connections were accepted so far."""
        with self._changed:
            return self._connections

    @property
    def errors(self) -> list[BaseException]:
        """What callables of a script raised, and faults of the server; both were sent as a 500."""
        with self._changed:
            return list(self._errors)

    def wait_for_requests(self, count: int, timeout: float = 10.0) -> list[Request]:
        """Wait until `count` requests have been received.

        Parameters
        ----------
        count
            How many, since the start or the last `reset`.
        timeout
            Seconds to wait at most.

        Returns
        -------
        list of Request
            All requests so far.

        Raises
        ------
        TimeoutError
            When there are fewer by then.
        """
        self._wait_for(lambda: len(self._requests), count, timeout, "requests received")
        return self.requests

    def wait_for_disconnects(self, count: int, timeout: float = 10.0) -> None:
        """Wait until `count` connections have ended, from either side, since the server was made.

        Raises
        ------
        TimeoutError
            When there are fewer after `timeout` seconds.
        """
        self._wait_for(lambda: self._ended, count, timeout, "connections ended")

    def _wait_for(self, seen: Callable[[], int], count: int, timeout: float, what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: seen() >= count, timeout):
                raise TimeoutError(f"{seen()} of {count} {what} after {timeout} seconds")

    # ---- What it answers -------------------------------------------------------------------------

    def script(self, script: Iterable[Any]) -> None:
        """Set what the next requests get, one step for each, in the order of `requests`.

        It replaces what is left of an earlier script. After its end the normal answers follow.

        Parameters
        ----------
        script
            Each step is None or ``{}`` for the normal answer, a callable that is given the
            `Request` and returns a step, or a dict with any of:

            status
                200 to 999. From 400 on the body is the vendor's error, unless `body` is given.
            headers
                A dict or a list of pairs over the usual ones; a value of None takes one away.
            body
                dict or list (sent as JSON), str (sent as UTF-8) or bytes.
            delay
                Seconds before the answer.
            until
                A `threading.Event` that is waited for before the answer.
            drip
                Bytes at a time, or (bytes, seconds between): the body comes slowly. With `raw`
                and with ``drip_head=True`` all of the answer does.
            close
                End the connection, unannounced, ``"before"`` or ``"after"`` the answer. True means
                after it when the step has parts of an answer, else before it.
            reset
                As `close`, but with a RST.
            truncate
                Send this many bytes of the body under the whole length, then end.
            raw
                The exact bytes to send, then end the connection (``close=False`` keeps it).

        Raises
        ------
        TypeError, ValueError
            When a step is wrong: with its number and what would be right.
        """
        checked = steps.check(script)
        with self._changed:
            self._steps = checked

    def reset(self) -> None:
        """Forget the requests, the errors and what is left of the script."""
        with self._changed:
            self._requests, self._steps, self._errors = [], [], []

    # ---- Connections -----------------------------------------------------------------------------

    def _spawn(self, target: Callable[..., None], *args: Any) -> None:
        def run() -> None:
            try:
                target(*args)
            finally:
                with self._changed:
                    self._threads.discard(thread)
                    self._changed.notify_all()

        thread = threading.Thread(target=run, name="promptlathe simulated service", daemon=True)
        with self._changed:  # nobody sees a thread that has not begun, which cannot be joined
            thread.start()
            self._threads.add(thread)

    def _living(self) -> list[threading.Thread]:
        with self._changed:
            return list(self._threads)

    def _accept(self, listener: socket.socket) -> None:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(self._stop[0], select.POLLIN)
        while self._stop[0] not in [descriptor for descriptor, _ in poll.poll()]:
            try:
                connection = listener.accept()[0]
            except OSError:  # gone again, or no descriptor left: others are served on
                continue
            with self._changed:
                self._connections += 1
                number = self._connections
            self._spawn(self._serve, connection, number)

    def _serve(self, connection: socket.socket, number: int) -> None:
        """Answer one connection's requests until either side ends it."""
        current: list[Request] = []
        stream = http1.Stream(connection, self._stop[0], lambda: _note_gone(current))
        try:
            while self._serve_one(stream, number, current):
                pass
        except http1.Stopped:
            pass
        except OSError:
            _note_gone(current)
        finally:
            stream.end()
            with self._changed:
                self._ended += 1
                self._changed.notify_all()

    def _serve_one(self, stream: http1.Stream, number: int, current: list[Request]) -> bool:
        """Answer one request; whether the connection goes on."""
        try:
            parsed = http1.read_request(stream, self._max_body_bytes)
        except http1.Malformed as fault:
            self._refuse(stream, fault)
            return False
        if parsed is None:
            return False
        request, step = self._record(parsed, number)
        current[:] = [request]
        going_on = self._answer(stream, request, self._resolve(step, request), parsed.keeps_alive())
        current.clear()
        return going_on

    def _refuse(self, stream: http1.Stream, fault: http1.Malformed) -> None:
        answer = simulated.refuse(fault.status, str(fault), number=self._next_number())
        stream.send(http1.head_of(answer, close=True) + answer.body)
        stream.linger()

    def _next_number(self) -> int:
        with self._changed:
            self._count += 1
            return self._count

    def _record(self, parsed: http1.Parsed, number: int) -> tuple[Request, steps.Scripted]:
        with self._changed:
            self._count += 1
            request = Request(
                len(self._requests),
                number,
                time.monotonic(),
                parsed.method,
                parsed.target,
                parsed.version,
                parsed.headers,
                parsed.body,
                number=self._count,
            )
            self._requests.append(request)
            step = self._steps.pop(0) if self._steps else steps.Step()
            self._changed.notify_all()
        return request, step

    def _resolve(self, step: steps.Scripted, request: Request) -> steps.Step:
        if isinstance(step, steps.Step):
            return step
        try:
            return steps.check_step(step(request), "the step that a callable returned")
        except Exception as error:  # the user's own code: told to the client and kept for the test
            self._keep(error)
            return steps.check_step(
                {"status": 500, "body": _scripting_error(request, error)}, "a fault of the script"
            )

    def _answer(
        self, stream: http1.Stream, request: Request, step: steps.Step, alive: bool
    ) -> bool:
        stream.pause(step.delay)
        while step.until is not None and not step.until.is_set():
            stream.pause(0.01)
        status = None
        try:
            if not step.silent:
                status = self._send(stream, request, step, alive)
        finally:
            self._tell(request, status)
        if step.reset:
            stream.reset()
        return alive and not step.ends

    def _send(self, stream: http1.Stream, request: Request, step: steps.Step, alive: bool) -> int:
        """Send what the step says; the status sent, 0 for raw bytes."""
        if step.raw is not None:
            _send_slowly(stream, step.raw, step.drip)
            return 0
        answer = steps.build(step, lambda: self._normal(request), number=request.number)
        if self._gzip and _accepts_gzip(request.headers.get("accept-encoding", "")):
            answer = steps.compress(answer)
        head = http1.head_of(answer, close=not alive)
        body = http1.body_of(answer, request.method)[: step.truncate]
        if step.drip is None or step.drip_head:
            _send_slowly(stream, head + body, step.drip)
        else:
            stream.send(head)
            _send_slowly(stream, body, step.drip)
        return answer.status

    def _normal(self, request: Request) -> handler.Answer:
        try:
            return simulated.respond(
                request.method,
                request.path,
                request.raw_headers,
                request.body,
                number=request.number,
                api_key=self._api_key,
                max_body_bytes=self._max_body_bytes,
            )
        except Exception as error:  # a fault of ours: told, and kept where tests look
            self._keep(error)
            return simulated.refuse(500, f"internal error: {error!r}", number=request.number)

    def _keep(self, error: Exception) -> None:
        with self._changed:
            self._errors.append(error)

    def _tell(self, request: Request, status: int | None) -> None:
        if self._on_answer is not None:
            self._on_answer(request, status, time.monotonic() - request.time)


def _note_gone(current: list[Request]) -> None:
    for request in current:
        request.disconnected.set()


def _scripting_error(request: Request, error: Exception) -> dict[str, Any]:
    message = f"the script's callable failed: {type(error).__name__}: {error}"
    fault = {"type": "api_error", "message": message}
    return {"type": "error", "error": fault, "request_id": request.request_id}


def _send_slowly(stream: http1.Stream, data: bytes, drip: tuple[int, float] | None) -> None:
    if drip is None:
        stream.send(data)
        return
    size, seconds = drip
    for start in range(0, len(data), size):
        if start:
            stream.pause(seconds)
        stream.send(data[start : start + size])


def _accepts_gzip(accepted: str) -> bool:
    for entry in accepted.lower().split(","):
        coding, _, weight = entry.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.strip().replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
