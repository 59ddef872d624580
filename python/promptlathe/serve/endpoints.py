"""The endpoints as an ASGI application: the limits, and one request from its head to its answer."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from promptlathe.server import handler, simulated
from promptlathe.server.handler import Answer, Refusal, TooLarge

from . import body
from .answerers import LARGE, Answerer, Call
from .gate import Gate
from .record import KEY, Record, path_of

_CLOSE = [("connection", "close")]


class Endpoints:
    """Answers every request in the documented shapes, the unknown paths too.

    Parameters
    ----------
    answerer
        What makes the answers.
    gate
        Who is let in.
    accepts
        Whether a caller's key is good; None: any that is not empty.
    max_body_bytes
        A longer body is a 413.
    timeout
        Seconds for a whole call.
    marked
        Whether answers carry the headers of the simulated service.
    """

    def __init__(
        self,
        answerer: Answerer,
        gate: Gate,
        *,
        accepts: Callable[[str], bool] | None,
        max_body_bytes: int,
        timeout: float,
        marked: bool,
    ) -> None:
        self._answerer = answerer
        self._gate = gate
        self._accepts = accepts
        self._max_body_bytes = max_body_bytes
        self._timeout = timeout
        self._marked = marked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; nothing is sent to a caller that has left."""
        record: Record = scope[KEY]
        unread = False
        try:
            answer = await self._answer(scope, receive, record)
        except body.Gone:
            return
        except Refusal as refusal:
            unread = isinstance(refusal, TooLarge)
            answer = _refused(refusal, record)
        except Exception as error:
            record.fault = _place(error)
            answer = _refused(Refusal(500, "internal error; the server's log tells where"), record)
        if self._marked:
            answer = simulated.mark(answer)
        await _send(answer, send, more=unread)
        if unread:
            await body.linger(receive)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answer(self, scope: Scope, receive: Receive, record: Record) -> Answer:
        fields = handler.fields_of(
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        )
        verb = handler.check_head(scope["method"], path_of(scope), fields, self._accepts)
        with self._gate.enter():
            result = await self._in_time(verb, fields, receive, record)
        return handler.success(result, record.request_id)

    async def _in_time(
        self, verb: str, fields: handler.Fields, receive: Receive, record: Record
    ) -> dict[str, Any]:
        late = Refusal(408, f"the body did not come within {self._timeout:g} seconds", _CLOSE)
        clock = asyncio.get_running_loop().time
        due = clock() + self._timeout
        try:
            async with asyncio.timeout_at(due) as limit:
                raw = await body.read(fields, receive, self._max_body_bytes)
                given = await self._given(verb, raw)
                late = Refusal(504, f"there was no answer within {self._timeout:g} seconds")
                credential = handler.credential(fields)
                assert credential is not None  # it was checked
                call = Call(verb, given, credential, len(raw), max(due - clock(), 0.001))
                return await self._called(call, receive, record)
        except TimeoutError:
            if not limit.expired():
                raise
            raise late from None

    async def _given(self, verb: str, raw: bytes) -> dict[str, Any]:
        if len(raw) > LARGE:
            return await asyncio.to_thread(handler.check_body, verb, raw, self._max_body_bytes)
        return handler.check_body(verb, raw, self._max_body_bytes)

    async def _called(self, call: Call, receive: Receive, record: Record) -> dict[str, Any]:
        answering = self._answerer.answer(call, record)
        if self._answerer.waits:
            return await body.attended(answering, receive)
        return await answering


def _refused(refusal: Refusal, record: Record) -> Answer:
    record.error = refusal.kind
    return handler.error(refusal, record.upstream_request_id or record.request_id)


async def _send(answer: Answer, send: Send, *, more: bool) -> None:
    """Send an answer; with `more` its end is left open, and the connection ends with it."""
    headers = [
        *answer.headers,
        ("content-length", str(len(answer.body))),
        *(_CLOSE if more else ()),
    ]
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body, "more_body": more})


def _place(error: Exception) -> str:
    """Where our own fault is. Its message may quote a prompt, and is left out."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    return f"{type(error).__name__} at {last.filename.rpartition('/')[2]}:{last.lineno}"
