"""pycurl with orjson, on the same libcurl as promptlathe: one after another, or its multi interface."""

from __future__ import annotations

import math
import select
import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import orjson
import pycurl
from run import HEADERS, WHOLE, Run

STREAMS = 100  # on a connection of HTTP/2


def make_easy(run: Run) -> Any:
    """A handle that is set up once and used again and again."""
    easy = pycurl.Curl()
    lines = [f"{name}: {value}" for name, value in HEADERS.items()]
    version = pycurl.CURL_HTTP_VERSION_2TLS if run.http2 else pycurl.CURL_HTTP_VERSION_1_1
    easy.setopt(pycurl.URL, run.url)
    easy.setopt(pycurl.HTTPHEADER, [*lines, "content-type: application/json", "expect:"])
    easy.setopt(pycurl.NOSIGNAL, 1)
    easy.setopt(pycurl.POST, 1)
    easy.setopt(pycurl.TIMEOUT_MS, int(WHOLE * 1000))
    easy.setopt(pycurl.HTTP_VERSION, version)
    easy.setopt(pycurl.PIPEWAIT, int(run.http2))
    if run.ca_file:
        easy.setopt(pycurl.CAINFO, run.ca_file)
        easy.unsetopt(pycurl.CAPATH)
    return easy


def set_request(easy: Any, task: str) -> None:
    easy.body = BytesIO()
    easy.setopt(pycurl.WRITEDATA, easy.body)
    easy.setopt(pycurl.POSTFIELDS, orjson.dumps({"task": task}))


def read_answer(easy: Any) -> Any:
    status = easy.getinfo(pycurl.RESPONSE_CODE)
    if status != 200:
        raise ValueError(status)
    return orjson.loads(easy.body.getvalue())


def easy(run: Run) -> None:
    handle = make_easy(run)

    def call() -> Any:
        set_request(handle, run.task)
        handle.perform()
        return read_answer(handle)

    run.repeat(call)


class Multi:
    """The multi interface with epoll."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.poll = select.epoll()
        self.watched: set[int] = set()
        self.due = math.inf
        self.multi = pycurl.CurlMulti()
        self.multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self.multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self.multi.setopt(pycurl.M_MAXCONNECTS, run.concurrency)
        if run.http2:
            most = math.ceil(run.concurrency / STREAMS)
            self.multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, most)
        self.handles = [make_easy(run) for _ in range(run.concurrency)]

    def _watch(self, what: int, fd: int, multi: Any, data: Any) -> None:
        if what == pycurl.POLL_REMOVE:
            self.watched.discard(fd)
            self.poll.unregister(fd)
            return
        mask = select.EPOLLIN if what & pycurl.POLL_IN else 0
        mask |= select.EPOLLOUT if what & pycurl.POLL_OUT else 0
        if fd in self.watched:
            self.poll.modify(fd, mask)
        else:
            self.watched.add(fd)
            self.poll.register(fd, mask)

    def _set_timer(self, milliseconds: int) -> None:
        self.due = time.monotonic() + milliseconds / 1000 if milliseconds >= 0 else math.inf

    def _start(self, easy: Any) -> None:
        set_request(easy, self.run.task)
        self.multi.add_handle(easy)

    def _end(self, easy: Any, failure: str) -> None:
        self.multi.remove_handle(easy)
        try:
            self.run.check(read_answer(easy))
        except ValueError as error:
            self.run.fail(failure or error)

    def _step(self) -> None:
        wait = self.due - time.monotonic()
        events = self.poll.poll(None if wait == math.inf else max(wait, 0))
        for fd, what in events:
            mask = pycurl.CSELECT_IN if what & ~select.EPOLLOUT else 0
            mask |= pycurl.CSELECT_OUT if what & select.EPOLLOUT else 0
            self.multi.socket_action(fd, mask)
        if self.due <= time.monotonic():
            self.due = math.inf
            self.multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def _ended(self) -> Iterator[Any]:
        left = 1
        while left:
            left, done, failed = self.multi.info_read()
            for easy in done:
                self._end(easy, "")
                yield easy
            for easy, _code, text in failed:
                self._end(easy, text)
                yield easy

    def work(self, calls: int) -> None:
        running = min(calls, len(self.handles))
        for easy in self.handles[:running]:
            self._start(easy)
        left = calls - running
        while running:
            self._step()
            for easy in self._ended():
                running -= 1
                if left:
                    left -= 1
                    running += 1
                    self._start(easy)


def multi(run: Run) -> None:
    many = Multi(run)
    many.work(1)
    run.begin()
    many.work(run.calls)
    run.end()
