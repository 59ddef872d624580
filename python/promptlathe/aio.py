"""`AsyncClient`: the calls of `promptlathe.Client`, awaited.

Each event loop that a client is used in has an engine of its own, which the loop drives: it watches
the engine's one descriptor and runs its timer. There is no thread.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable
from contextvars import Context
from sys import is_finalizing
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, overload
from weakref import ref

from . import _core
from ._map import AsyncMap

if TYPE_CHECKING:
    import os
    from asyncio import Task, TimerHandle
    from collections.abc import AsyncIterable, Coroutine, Iterable
    from types import EllipsisType, TracebackType

    from ._core import (
        RawResponse,
        _Betas,
        _Effort,
        _Instructions,
        _MaxTokens,
        _Messages,
        _OnChange,
        _Request,
        _Retries,
        _Timeout,
    )
    from ._types import PromptResponse, RateLimit, TemplatizeResponse

    _Requests = Iterable[_Request] | AsyncIterable[_Request]

__all__ = ["AsyncClient", "AsyncClientWithRawResponse", "AsyncMap"]

_BUDGET = 0.002  # seconds that a drain may hold the loop
_GENERATE, _IMPROVE, _TEMPLATIZE = range(3)

_NO_LOOP = (
    "AsyncClient works in asyncio, and no event loop of asyncio is running here: use asyncio.run() "
    "(uvloop and anyio on asyncio will do). Under trio use a Client in threads, "
    "trio.to_thread.run_sync(client.generate, task), or trio-asyncio; without any loop, a Client."
)


# ---- One event loop -----------------------------------------------------------------------------


class Driver(_core.Loop):
    """The engine of one event loop, and what the loop does for it.

    The loop's reader owns it, so that it goes with the loop; clients refer to it weakly, and it to
    them only through the calls that are in flight.
    """

    __slots__ = (
        "__weakref__",
        "_context",
        "_descriptor",
        "_loop",
        "_me",
        "_tasks",
        "_timer",
    )

    def watch(self, loop: AbstractEventLoop) -> None:
        """Have the loop drive; to be called once, in its thread."""
        self._loop = ref(loop)
        self._me = ref(self)
        self._timer: TimerHandle | None = None
        self._tasks: set[Task[None]] = set()
        # What drives for everybody runs in nobody's context, and keeps none of it alive.
        self._context = Context()
        self._descriptor = self.fileno()
        self._context.run(loop.add_reader, self._descriptor, self.ready)

    # ---- Called by the loop ----

    def _again(self) -> None:
        self.soon = False
        if not self.closed:
            self.drain(False)

    def _fired(self) -> None:
        self._timer = None
        self.drain(True)

    def schedule(self, due: float, /) -> None:
        """Have the loop drain after so many seconds, or soon, or not at all when below 0."""
        loop = self._loop()
        if due < 0 or loop is None:
            return
        if due == 0:
            if not self.soon:
                self.soon = True
                loop.call_soon(self._again, context=self._context)
            return
        if self._timer is not None:
            self._timer.cancel()
        # The handle knows this driver weakly: it must not keep alive what keeps it alive.
        self._timer = loop.call_later(due, _fire, self._me, context=self._context)

    # ---- Called by clients ----

    def attend(self) -> None:
        """See to what a start or a cancel has changed."""
        if not self.soon:
            self.schedule(self.due())

    def run(self, work: Coroutine[Any, Any, None], context: Context) -> Task[None]:
        """Make a task of what tells of its own failures. A loop knows its tasks only weakly."""
        loop = self._loop()
        assert loop is not None
        task = loop.create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # or asyncio would tell of it once more

    def cancel(self, *calls: _core.Pending) -> None:
        """Cancel calls, from any thread: the garbage collector may be what ends a coroutine."""
        found = [call for call in calls if call.cancel() is not None]
        if found:
            self.changed()

    def changed(self) -> None:
        """See to what a cancel has changed, in any thread."""
        self.do(self.attend)

    def do(self, what: Callable[[], object]) -> None:
        """Do it in the loop's thread: here and now, or there, unless the loop is closed."""
        if self._loop() is asyncio._get_running_loop():
            what()
        else:
            self._post(what)

    def end(self) -> None:
        """Tell the calls of a closed client so, then stop watching and close; in the loop's thread."""
        if self.closed or self.stale:
            self.close()
            return
        self.drain(False)
        loop = self._loop()
        if not self.idle and loop is not None:
            loop.call_soon(self.end, context=self._context)
            return
        self.release()

    def release(self) -> None:
        """Stop watching and close, in the loop's thread or when the loop is closed."""
        loop = self._loop()
        watched = not (self.closed or self.stale or loop is None or loop.is_closed())
        if watched and loop is not None:
            loop.remove_reader(self._descriptor)
            if self._timer is not None:
                self._timer.cancel()
        self.close()

    def leave(self, here: AbstractEventLoop | None, how: Callable[[], None]) -> None:
        """Do `how`, one of the two above, where it may be done; `here` is the running loop."""
        if self.stale or (here is not None and self._loop() is here):
            how()
        elif not self._post(how):
            self.close()

    def _post(self, callback: Callable[[], object]) -> bool:
        """Have the loop call it, from any thread; False when the loop is closed or gone."""
        loop = self._loop()
        try:
            if loop is None or loop.is_closed():
                return False
            loop.call_soon_threadsafe(callback, context=self._context)
        except RuntimeError:  # closed meanwhile
            return False
        return True


def _fire(me: ref[Driver]) -> None:
    driver = me()
    if driver is not None and not driver.closed:
        driver._fired()


class Drivers:
    """The drivers of a client and its copies, by event loop; neither is kept alive by it."""

    __slots__ = ("by_loop",)

    def __init__(self) -> None:
        self.by_loop: dict[ref[AbstractEventLoop], ref[Driver]] = {}

    def here(self, client: _core.Client) -> tuple[Driver, AbstractEventLoop]:
        """The driver of the running loop, made when needed, and the loop."""
        try:
            loop = get_running_loop()
        except RuntimeError:
            raise RuntimeError(_NO_LOOP) from None
        known = self.by_loop.get(ref(loop))
        driver = None if known is None else known()
        return self._make(client, loop) if driver is None else driver, loop

    def _make(self, client: _core.Client, loop: AbstractEventLoop) -> Driver:
        self.purge()
        driver = Driver(client, _BUDGET)
        try:
            driver.watch(loop)
        except NotImplementedError:
            driver.close()
            name = type(loop).__qualname__
            raise RuntimeError(
                f"{name} has no add_reader(), which AsyncClient needs: use another event loop, or "
                "a Client in threads, asyncio.to_thread(client.generate, task)"
            ) from None
        self.by_loop[ref(loop)] = ref(driver)
        if client.closed:  # meanwhile, by another thread that may not have seen this driver
            driver.release()
        return driver

    def living(self) -> list[Driver]:
        """Every driver that there is."""
        found = [known() for known in list(self.by_loop.values())]
        return [driver for driver in found if driver is not None]

    def purge(self) -> None:
        """Free the engines of loops that are closed or gone, or were left in a fork's parent."""
        for key, known in list(self.by_loop.items()):
            loop, driver = key(), known()
            if loop is None or driver is None or loop.is_closed() or driver.stale:
                self.by_loop.pop(key, None)
                if driver is not None:
                    driver.close()

    def close(self, here: AbstractEventLoop | None) -> None:
        """End all of them, each in its own loop."""
        self.purge()
        for driver in self.living():
            driver.leave(here, driver.end)

    def __del__(self, ends: Callable[[], bool] = is_finalizing) -> None:
        if ends():  # asyncio and this module are half gone, and everything else goes by itself
            return
        # Posted also when this is the loop's own thread: a collection may come at any moment.
        for driver in self.living():
            driver.leave(None, driver.release)


# ---- Clients ------------------------------------------------------------------------------------


class AsyncClient:
    """A client of the prompt tools for asyncio; an asynchronous context manager.

    It may be used in any number of event loops, one after another or at once, and from any thread:
    each loop has connections of its own. Cancelling a task cancels its call at once.

    Parameters
    ----------
    api_key : str, optional
        Else the environment variable ANTHROPIC_API_KEY.
    auth_token : str, optional
        Sent as ``Authorization: Bearer``, for gateways; else ANTHROPIC_AUTH_TOKEN. Not together with
        ``api_key``.
    base_url : str, optional
        Else ANTHROPIC_BASE_URL, else https://api.anthropic.com.
    timeout : float, Timeout or None, default 600
        Seconds for a whole call, with its queueing, retries and body; None is no limit. A number
        leaves the time to connect at 5 seconds.
    max_retries : int, default 2
        How often a failed attempt is repeated.
    betas : list or tuple of str, optional
        Further values of the anthropic-beta header.
    default_headers : dict of str to str, optional
        Sent with every call.
    ca_file : str or os.PathLike, optional
        CA certificates in PEM form; else SSL_CERT_FILE, SSL_CERT_DIR, the system's, certifi.
    proxy : str, optional
        URL of a proxy, or "" for none; else the usual environment variables.
    allow_http : bool, default False
        Allow a base_url of http to another host than this one.
    max_response_bytes : int, default 67108864
        The largest decoded answer, in bytes.
    log_bodies : bool, default False
        Log bodies of requests and answers at DEBUG.
    model : str, optional
        The model that does the work of the verbs, over ``POST /v1/messages`` of the service at
        ``base_url``, which needs no key when it is this host. Without a model the documented
        endpoints are called, which the vendor itself has retired.
    max_tokens : int, default 8192
        With a model: the most tokens of one of its answers.
    effort : {"fast", "thorough"}, default "fast"
        With a model: `improve` in one request, or in four, a step of the work in each.
    on_variable_change : {"raise", "keep_original", "warn"}, default "raise"
        With a model: what is done when an improved prompt lacks a {{variable}} of the original or
        has a new one, also after the model was told so once.
    instructions : str or os.PathLike, optional
        With a model: a folder with texts in place of the built-in ones.

    Raises
    ------
    TypeError
        When an option is of a wrong type.
    ConfigurationError
        When an option cannot be used: no key, a malformed URL, no CA certificates.

    Notes
    -----
    A call outside of asyncio (under trio, say) raises RuntimeError, which says what to do.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        auth_token: str | None = None,
        base_url: str | None = None,
        timeout: float | _core.Timeout | None = 600,
        max_retries: int = 2,
        betas: _Betas = (),
        default_headers: dict[str, str] | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        allow_http: bool = False,
        max_response_bytes: int = 67108864,
        log_bodies: bool = False,
        model: str | None = None,
        max_tokens: int = 8192,
        effort: Literal["fast", "thorough"] = "fast",
        on_variable_change: Literal["raise", "keep_original", "warn"] = "raise",
        instructions: str | os.PathLike[str] | None = None,
    ) -> None:
        self._client = _core.Client(
            api_key,
            auth_token=auth_token,
            base_url=base_url,
            timeout=timeout,
            max_retries=max_retries,
            betas=betas,
            default_headers=default_headers,
            ca_file=ca_file,
            proxy=proxy,
            allow_http=allow_http,
            max_response_bytes=max_response_bytes,
            log_bodies=log_bodies,
            model=model,
            max_tokens=max_tokens,
            effort=effort,
            on_variable_change=on_variable_change,
            instructions=instructions,
        )
        self._drivers = Drivers()
        self._is_copy = False

    # ---- Calls ----

    def _call(self, verb: int, raw: bool, values: tuple[Any, ...]) -> _core.Pending:
        """Start a call, which is cancelled when whoever awaits it is."""
        driver, loop = self._drivers.here(self._client)
        return driver.start(self._client, verb, raw, loop.create_future(), values)

    async def generate(
        self,
        task: str,
        *,
        target_model: str | None = None,
        timeout: _Timeout = ...,
        max_retries: _Retries = ...,
        betas: _Betas = (),
        extra_headers: dict[str, str] | None = None,
        max_tokens: _MaxTokens = ...,
        effort: _Effort = ...,
        on_variable_change: _OnChange = ...,
        instructions: _Instructions = ...,
    ) -> PromptResponse:
        """Write a prompt for a task; as `Client.generate`."""
        options: tuple[Any, ...] = (timeout, max_retries, betas, extra_headers)
        options += (max_tokens, effort, on_variable_change, instructions)
        response: PromptResponse = await self._call(
            _GENERATE, False, (task, target_model, *options)
        )
        return response

    async def improve(
        self,
        messages: _Messages,
        *,
        feedback: str | None = None,
        system: str | None = None,
        target_model: str | None = None,
        timeout: _Timeout = ...,
        max_retries: _Retries = ...,
        betas: _Betas = (),
        extra_headers: dict[str, str] | None = None,
        max_tokens: _MaxTokens = ...,
        effort: _Effort = ...,
        on_variable_change: _OnChange = ...,
        instructions: _Instructions = ...,
    ) -> PromptResponse:
        """Improve a prompt; as `Client.improve`."""
        members = (messages, feedback, system, target_model)
        options: tuple[Any, ...] = (timeout, max_retries, betas, extra_headers)
        options += (max_tokens, effort, on_variable_change, instructions)
        response: PromptResponse = await self._call(_IMPROVE, False, (*members, *options))
        return response

    async def templatize(
        self,
        messages: _Messages,
        *,
        system: str | None = None,
        timeout: _Timeout = ...,
        max_retries: _Retries = ...,
        betas: _Betas = (),
        extra_headers: dict[str, str] | None = None,
        max_tokens: _MaxTokens = ...,
        effort: _Effort = ...,
        on_variable_change: _OnChange = ...,
        instructions: _Instructions = ...,
    ) -> TemplatizeResponse:
        """Turn the literal values of a prompt into {{VARIABLES}}; as `Client.templatize`."""
        options: tuple[Any, ...] = (timeout, max_retries, betas, extra_headers)
        options += (max_tokens, effort, on_variable_change, instructions)
        response: TemplatizeResponse = await self._call(
            _TEMPLATIZE, False, (messages, system, *options)
        )
        return response

    @overload
    def map(
        self,
        requests: _Requests,
        *,
        concurrency: int = 16,
        ordered: Literal[True] = True,
        return_exceptions: Literal[False] = False,
    ) -> AsyncMap[PromptResponse]: ...

    @overload
    def map(
        self,
        requests: _Requests,
        *,
        concurrency: int = 16,
        ordered: Literal[True] = True,
        return_exceptions: Literal[True],
    ) -> AsyncMap[PromptResponse | Exception]: ...

    @overload
    def map(
        self,
        requests: _Requests,
        *,
        concurrency: int = 16,
        ordered: Literal[False],
        return_exceptions: Literal[False] = False,
    ) -> AsyncMap[tuple[int, PromptResponse]]: ...

    @overload
    def map(
        self,
        requests: _Requests,
        *,
        concurrency: int = 16,
        ordered: Literal[False],
        return_exceptions: Literal[True],
    ) -> AsyncMap[tuple[int, PromptResponse | Exception]]: ...

    @overload
    def map(
        self,
        requests: _Requests,
        *,
        concurrency: int = 16,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> AsyncMap[Any]: ...

    def map(
        self,
        requests: _Requests,
        *,
        concurrency: int = 16,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> AsyncMap[Any]:
        """Make many calls, some at a time, and iterate over their results.

        Nothing is read or sent before the first result is asked for. What is in flight goes on
        with the event loop, also while no result is asked for, and so do its deadlines.

        Parameters
        ----------
        requests : iterable or asynchronous iterable of dict
            Each has ``verb`` ("generate", "improve" or "templatize"), and that verb's arguments and
            options by name. At most twice `concurrency` are read ahead: an iterable when a result
            is asked for, an asynchronous one in a task of its own. A ``timeout`` begins when its
            request is read.
        concurrency : int, default 16
            How many calls are in flight at once, 1 to 65536.
        ordered : bool, default True
            Give results in the order of the requests; else as they come.
        return_exceptions : bool, default False
            Give the failure of a request as its result, and go on.

        Yields
        ------
        dict or tuple of int and dict
            What the verb gives; with ``ordered=False`` after the request's index, from 0. In place
            of a failed one the exception, with ``return_exceptions=True``.

        Raises
        ------
        TypeError, ConfigurationError, ClientClosedError
            At once, as `Client.map`.
        Exception
            What the verb raises for a request, in its turn; the rest is then cancelled. What the
            iterable raises comes after the results of what was read before.

        Notes
        -----
        Leaving a loop early and dropping the iterator, its ``aclose()``, and cancelling the task
        that asks for a result all cancel what is in flight, and ``aclose()`` waits until an
        asynchronous iterable that is being read has ended. After an exception the map is at its
        end: results that it has not given are lost. What is raised or given for a request has the
        note ``in requests[INDEX]``. Over HTTP/1.1 each call in flight has a connection, and with it
        a file descriptor, which the loop keeps for later calls.
        """
        return AsyncMap(self, requests, concurrency, ordered, return_exceptions)

    # ---- Others like it ----

    def with_options(
        self,
        *,
        timeout: _Timeout = ...,
        max_retries: _Retries = ...,
        betas: _Betas | EllipsisType = ...,
        default_headers: dict[str, str] | None | EllipsisType = ...,
        model: str | None | EllipsisType = ...,
        max_tokens: _MaxTokens = ...,
        effort: _Effort = ...,
        on_variable_change: _OnChange = ...,
        instructions: _Instructions = ...,
    ) -> Self:
        """Make a client with other options on the same connections; as `Client.with_options`."""
        client = self._client.with_options(
            timeout=timeout,
            max_retries=max_retries,
            betas=betas,
            default_headers=default_headers,
            model=model,
            max_tokens=max_tokens,
            effort=effort,
            on_variable_change=on_variable_change,
            instructions=instructions,
        )
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy._client, copy._is_copy = client, True
        return copy

    @property
    def with_raw_response(self) -> AsyncClientWithRawResponse:
        """The three calls, each giving a `RawResponse`: the answer with status and headers."""
        return AsyncClientWithRawResponse(self)

    # ---- What it is ----

    @property
    def rate_limits(self) -> dict[str, RateLimit]:
        """``{kind: {"limit", "remaining", "reset"}}`` from the newest answer that told."""
        return self._client.rate_limits

    @property
    def base_url(self) -> str:
        """Where the service is, without a slash at the end."""
        return self._client.base_url

    @property
    def closed(self) -> bool:
        """Whether `close` was called, here or on the original."""
        return self._client.closed

    def __repr__(self) -> str:
        cls = type(self)
        closed = " closed" if self.closed else ""
        return f"<{cls.__module__}.{cls.__qualname__} {self.base_url}{closed}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an AsyncClient cannot be pickled or copied: make one in each process, or use "
            "with_options() for a copy that shares its connections"
        )

    # ---- Its end ----

    async def close(self) -> None:
        """Refuse new calls and end those in flight, in every loop, with ClientClosedError.

        May be called twice, in any loop and thread. Calls of other loops end in those loops, which
        is not waited for. Closing a copy made by `with_options` leaves the original open; closing
        the original ends its copies.
        """
        self._client.close()
        here = asyncio._get_running_loop()
        if not self._is_copy:
            self._drivers.close(here)
        elif here is not None and (known := self._drivers.by_loop.get(ref(here))) is not None:
            driver = known()
            if driver is not None:
                driver._again()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        await self.close()


class AsyncClientWithRawResponse:
    """The calls of a client, with status and headers; from `AsyncClient.with_raw_response`."""

    __slots__ = ("_client",)

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def generate(
        self,
        task: str,
        *,
        target_model: str | None = None,
        timeout: _Timeout = ...,
        max_retries: _Retries = ...,
        betas: _Betas = (),
        extra_headers: dict[str, str] | None = None,
        max_tokens: _MaxTokens = ...,
        effort: _Effort = ...,
        on_variable_change: _OnChange = ...,
        instructions: _Instructions = ...,
    ) -> RawResponse[PromptResponse]:
        """As `AsyncClient.generate`, but gives a `RawResponse`."""
        options: tuple[Any, ...] = (timeout, max_retries, betas, extra_headers)
        options += (max_tokens, effort, on_variable_change, instructions)
        response: RawResponse[PromptResponse] = await self._client._call(
            _GENERATE, True, (task, target_model, *options)
        )
        return response

    async def improve(
        self,
        messages: _Messages,
        *,
        feedback: str | None = None,
        system: str | None = None,
        target_model: str | None = None,
        timeout: _Timeout = ...,
        max_retries: _Retries = ...,
        betas: _Betas = (),
        extra_headers: dict[str, str] | None = None,
        max_tokens: _MaxTokens = ...,
        effort: _Effort = ...,
        on_variable_change: _OnChange = ...,
        instructions: _Instructions = ...,
    ) -> RawResponse[PromptResponse]:
        """As `AsyncClient.improve`, but gives a `RawResponse`."""
        members = (messages, feedback, system, target_model)
        options: tuple[Any, ...] = (timeout, max_retries, betas, extra_headers)
        options += (max_tokens, effort, on_variable_change, instructions)
        response: RawResponse[PromptResponse] = await self._client._call(
            _IMPROVE, True, (*members, *options)
        )
        return response

    async def templatize(
        self,
        messages: _Messages,
        *,
        system: str | None = None,
        timeout: _Timeout = ...,
        max_retries: _Retries = ...,
        betas: _Betas = (),
        extra_headers: dict[str, str] | None = None,
        max_tokens: _MaxTokens = ...,
        effort: _Effort = ...,
        on_variable_change: _OnChange = ...,
        instructions: _Instructions = ...,
    ) -> RawResponse[TemplatizeResponse]:
        """As `AsyncClient.templatize`, but gives a `RawResponse`."""
        options: tuple[Any, ...] = (timeout, max_retries, betas, extra_headers)
        options += (max_tokens, effort, on_variable_change, instructions)
        response: RawResponse[TemplatizeResponse] = await self._client._call(
            _TEMPLATIZE, True, (messages, system, *options)
        )
        return response


for _public in (AsyncClient, AsyncClientWithRawResponse, AsyncMap):
    _public.__module__ = "promptlathe"  # where they are imported from
