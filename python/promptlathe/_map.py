"""`AsyncMap`, what `AsyncClient.map` gives."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, Future, Task
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextvars import copy_context
from operator import index
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar

from ._core import ClientClosedError, ConfigurationError

if TYPE_CHECKING:
    from types import TracebackType

    from ._core import Pending
    from .aio import AsyncClient, Driver

_T = TypeVar("_T")
_MOST = 65536  # in flight
_READING = 0.002  # seconds for which requests are read before the loop has its turn


class _Slot:
    """The place of one request, from its reading until its result is given out.

    It is to the core what a future is, without the cost of one.
    """

    __slots__ = ("ended", "failure", "index", "pending", "result", "work")

    def __init__(self, work: _Work, index: int) -> None:
        self.work = work
        self.index = index
        self.pending: Pending | None = None
        self.ended = False
        self.result: Any = None
        self.failure: Exception | None = None

    def done(self) -> bool:
        return self.ended

    def set_result(self, result: Any) -> None:
        self.result = result
        self.work.end_slot(self)

    def set_exception(self, failure: Exception) -> None:
        failure.add_note(f"in requests[{self.index}]")
        self.failure = failure
        self.work.end_slot(self)


class _Work:
    """What a map has under way: apart from the map, so that dropping that can end this."""

    def __init__(
        self,
        client: AsyncClient,
        requests: Iterable[Any] | AsyncIterable[Any],
        concurrency: int,
        ordered: bool,
        keeps: bool,
    ) -> None:
        self.client = client
        self.concurrency, self.ordered, self.keeps = concurrency, ordered, keeps
        self.source: Iterator[Any] | None = None
        self.async_source: AsyncIterator[Any] | None = None
        if isinstance(requests, AsyncIterable):
            self.async_source = aiter(requests)
        else:
            self.source = _iterator(requests)
        self.read = 0  # requests so far
        self.ends = False  # no more is read; and then, after all results:
        self.last: BaseException | None = None
        self.flying: set[_Slot] = set()
        self.ready: deque[_Slot] = deque()  # ordered: all; else those that have ended
        self.over = False
        self.waiter: Future[None] | None = None  # of who asks for the next result
        self.reader: Task[None] | None = None
        self.context = copy_context()  # one for all readers, as if they were one task
        self.loop: AbstractEventLoop | None = None
        self.driver: Driver | None = None

    # ---- Reading ----

    def wants(self) -> bool:
        """Whether another request may be read."""
        count = len(self.ready) if self.ordered else len(self.ready) + len(self.flying)
        return (
            not self.ends and len(self.flying) < self.concurrency and count < 2 * self.concurrency
        )

    def add(self, request: Any) -> None:
        """Put a request that was read in flight."""
        assert self.driver is not None
        slot = _Slot(self, self.read)
        self.read += 1
        self.flying.add(slot)
        if self.ordered:
            self.ready.append(slot)
        try:
            core = self.client._client
            slot.pending = self.driver.start_request(core, slot, request, slot.index)
        except Exception as failure:
            if self.is_kept(failure):
                slot.set_exception(failure)
            else:
                self.flying.discard(slot)
                if self.ordered:
                    self.ready.pop()
                failure.add_note(f"in requests[{slot.index}]")
                self.stop(failure)

    def is_kept(self, failure: BaseException) -> bool:
        """Whether it is given out and not raised. A closed client ends the map."""
        return self.keeps and not isinstance(failure, ClientClosedError)

    def stop(self, last: BaseException | None) -> None:
        """Read no more; `last` is raised after all results."""
        self.ends, self.last = True, last
        self.source = self.async_source = None
        _wake(self.waiter)

    def read_on(self) -> None:
        """Have the asynchronous source read while there is room; without room no task waits."""
        if self.async_source is not None and self.reader is None and self.wants():
            assert self.driver is not None
            self.reader = self.driver.run(_read(self, self.async_source), self.context)

    def fill(self) -> bool:
        """Read what there is room for; True when there is more, and the loop's turn comes first."""
        assert self.loop is not None and self.driver is not None
        self.read_on()
        if self.source is None or not self.wants():
            return False
        until = self.loop.time() + _READING
        late = False
        while not late and self.wants():
            try:
                request = next(self.source)
            except StopIteration:
                self.stop(None)
            except Exception as failure:
                self.stop(failure)
            else:
                self.add(request)
                late = self.loop.time() >= until
        self.driver.attend()
        return late and self.wants()

    # ---- Results ----

    def end_slot(self, slot: _Slot) -> None:
        """A call has ended; by the core, in the loop's thread."""
        slot.ended, slot.pending = True, None
        self.flying.discard(slot)
        if not self.ordered:
            self.ready.append(slot)
        _wake(self.waiter)
        self.read_on()

    def take(self) -> _Slot | None:
        """The next that can be given out."""
        if not self.ready or not self.ready[0].ended:
            return None
        slot = self.ready.popleft()
        self.read_on()
        return slot

    def give(self, slot: _Slot) -> Any:
        """What comes of a slot: the result, or what stands for it."""
        failure, result = slot.failure, slot.result
        if failure is not None:
            if not self.is_kept(failure):
                raise _told(failure)
            result = failure
        return result if self.ordered else (slot.index, result)

    async def wait(self) -> None:
        """Until something has ended, or there is room for another request."""
        assert self.loop is not None
        self.waiter = self.loop.create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None

    # ---- The end ----

    def finish(self) -> None:
        """Cancel what is in flight; from any thread."""
        if self.over:
            return
        self.over = True
        self.stop(None)
        # In order of age, in which libcurl closes connections soonest.
        flying, self.flying = sorted(self.flying, key=lambda slot: slot.index), set()
        self.ready.clear()
        if self.driver is not None:
            self.driver.cancel(*(slot.pending for slot in flying if slot.pending is not None))
            reader, self.reader = self.reader, None  # a cancelled task keeps the source
            if reader is not None:
                self.driver.do(reader.cancel)

    async def leave(self) -> None:
        """Finish, and wait until nothing of the source runs any more."""
        reader = self.reader
        self.finish()
        here = self.loop is asyncio.get_running_loop()
        if reader is not None and here and reader is not asyncio.current_task():
            await asyncio.wait([reader])


def _wake(future: Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


async def _read(work: _Work, source: AsyncIterator[Any]) -> None:
    """Read an asynchronous source, beside whoever asks for results."""
    assert work.loop is not None and work.driver is not None
    try:
        while work.wants():
            request = await anext(source)
            # Over: the source did not heed the cancelling, or is what closed the map.
            if not work.over:
                work.add(request)
                work.driver.attend()
    except StopAsyncIteration:
        work.stop(None)
    except BaseException as failure:
        if not work.over:
            work.stop(failure)
        if isinstance(failure, (KeyboardInterrupt, SystemExit)):
            raise  # the loop itself ends
    finally:
        work.reader = None


class AsyncMap(Generic[_T]):
    """The results of many requests, from `AsyncClient.map`; an asynchronous iterator.

    Dropping it cancels what is in flight, as `aclose` does; it is a context manager as well.
    """

    __slots__ = ("__weakref__", "_running", "_work")

    def __init__(
        self,
        client: AsyncClient,
        requests: Iterable[Any] | AsyncIterable[Any],
        concurrency: int,
        ordered: bool,
        return_exceptions: bool,
    ) -> None:
        concurrency = _check(
            client, concurrency, ordered=ordered, return_exceptions=return_exceptions
        )
        self._running = False
        self._work = _Work(client, requests, concurrency, ordered, return_exceptions)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _T:
        """Return the next result.

        Raises
        ------
        StopAsyncIteration
            When there is none any more.
        RuntimeError
            When another task waits for it, or another event loop began with it.
        """
        work = self._work
        if work.over:
            raise StopAsyncIteration
        self._enter(work)
        try:
            result: _T = await _next(work)
            return result
        except BaseException:
            work.finish()
            raise
        finally:
            self._running = False

    def _enter(self, work: _Work) -> None:
        if self._running:
            raise RuntimeError("another task waits for the next result of this map")
        if work.loop is None:
            work.driver, work.loop = work.client._drivers.here(work.client._client)
        elif work.loop is not asyncio._get_running_loop():
            raise RuntimeError("this map was begun in another event loop")
        self._running = True

    async def aclose(self) -> None:
        """Cancel what is in flight and end the iteration. May be called twice.

        When it returns, an asynchronous source that was being read has been cancelled and has ended.
        """
        await self._work.leave()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        await self._work.leave()

    def __reduce__(self) -> NoReturn:
        raise TypeError("an AsyncMap cannot be copied or pickled")

    def __del__(self) -> None:
        if hasattr(self, "_work"):
            self._work.finish()


def _told(failure: BaseException) -> BaseException:
    """What to raise for it: what ends iterations would pass for the map's own end (PEP 479)."""
    if not isinstance(failure, (StopIteration, StopAsyncIteration)):
        return failure
    error = RuntimeError(f"a request or its source raised {type(failure).__name__}")
    error.__cause__ = failure
    return error


async def _next(work: _Work) -> Any:
    while True:
        more = work.fill()
        if (slot := work.take()) is not None:
            return work.give(slot)
        if work.over or (work.ends and not work.flying):
            raise _told(work.last) if work.last else StopAsyncIteration
        await (asyncio.sleep(0) if more else work.wait())


def _iterator(requests: Iterable[Any]) -> Iterator[Any]:
    try:
        return iter(requests)
    except TypeError:
        if hasattr(requests, "__iter__"):
            raise
        kind = type(requests).__name__
    raise TypeError(f"requests must be an iterable of dicts, asynchronous or not, not {kind}")


def _check(client: AsyncClient, concurrency: Any, **flags: object) -> int:
    if client.closed:
        raise ClientClosedError("the client is closed")
    if isinstance(concurrency, bool) or not hasattr(concurrency, "__index__"):
        kind = type(concurrency).__name__
        raise TypeError(f"concurrency must be an int, not {kind}")
    count = index(concurrency)
    if not 1 <= count <= _MOST:
        raise ConfigurationError(f"concurrency must be from 1 to {_MOST}")
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be a bool, not {type(value).__name__}")
    return count
