"""Programs with processes of `multiprocessing` and `concurrent.futures`.

``python -m processes.workers NAME ORDERS``
"""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import promptlathe
from faults.raw_server import refused_port
from promptlathe import Client, EndpointRetiredError

from processes.children import (
    KEY,
    TASK,
    Inherited,
    Orders,
    Subject,
    descriptors,
    kinds,
    prepare,
    say,
)

OWN: dict[str, Any] = {}  # this process's client, and what it inherited
BEFORE = descriptors()


def set_up(orders: Orders) -> None:
    """A client for this process, made in it."""
    OWN["subject"] = Subject(orders)
    OWN["inherited"] = Inherited(descriptors())


def work(mark: str) -> list[Any]:
    """A call in a worker."""
    subject: Subject = OWN["subject"]
    return [mark, subject.call(f"{os.getpid()} {mark}"), os.getpid(), OWN["inherited"].still_open()]


# ---- Errors -------------------------------------------------------------------------------------


def closed() -> Any:
    client = Client(KEY)
    client.close()
    return client.generate(TASK)


def refused() -> Any:
    url = f"http://127.0.0.1:{refused_port()}"
    return Client(KEY, base_url=url, max_retries=0).generate(TASK)


def answered(status: int) -> Callable[[], Any]:
    """A call that is answered with this status."""

    def call() -> Any:
        subject: Subject = OWN["subject"]
        headers = {"x-status": str(status)}
        return subject.driver.call(subject.client, TASK, extra_headers=headers, max_retries=0)

    return call


def held() -> Any:
    subject: Subject = OWN["subject"]
    headers = {"x-hold": "silently"}
    return subject.driver.call(subject.client, TASK, extra_headers=headers, timeout=0.1)


def raised(kind: type[Exception]) -> Callable[[], Any]:
    """One that no server here can bring about."""

    def throw() -> Any:
        error = kind("made by hand")
        error.status_code, error.headers = 404, {"x-a": "1"}  # type: ignore[attr-defined]
        raise error

    return throw


ERRORS: dict[str, Callable[[], Any]] = {
    "BadRequestError": answered(400),
    "AuthenticationError": answered(401),
    "PermissionDeniedError": answered(403),
    "NotFoundError": answered(404),
    "ConflictError": answered(409),
    "RequestTooLargeError": answered(413),
    "UnprocessableEntityError": answered(422),
    "RateLimitError": answered(429),
    "InternalServerError": answered(500),
    "OverloadedError": answered(529),
    "APIStatusError": answered(418),
    "APIResponseValidationError": answered(204),
    "APIConnectionError": refused,
    "APITimeoutError": held,
    "EndpointRetiredError": raised(EndpointRetiredError),
    "ClientClosedError": closed,
    "ConfigurationError": lambda: Client(KEY, base_url="nowhere"),
    "InvalidRequestError": lambda: promptlathe.validate_messages([{"role": "nobody"}]),
    "InvalidPromptError": lambda: promptlathe.validate_completion_prompt("no turns"),
    "MissingVariableError": lambda: promptlathe.render("{{a}} {{b}}", {}),
    "PromptLatheError": raised(promptlathe.PromptLatheError),
    "APIError": raised(promptlathe.APIError),
}


def seen(error: BaseException) -> str:
    """All that an error holds."""
    return repr([type(error).__qualname__, type(error).__module__, str(error), error.args])


def fail(name: str) -> Any:
    """Raise an error, which says itself what it held here."""
    try:
        ERRORS[name]()
    except Exception as error:
        held = repr(sorted(vars(error).items()))
        error.here = seen(error) + held  # type: ignore[attr-defined]
        raise


def whole(names: list[str], failing: Callable[[str], Any]) -> list[Any]:
    """Whether each error arrives as it was raised; what is wrong with it."""
    wrong = []
    for name in names:
        try:
            wrong.append([name, repr(failing(name))])
        except Exception as error:
            here = vars(error).pop("here", "")
            arrived = seen(error) + repr(sorted(vars(error).items()))
            if type(error).__name__ != name or arrived != here:
                wrong.append([name, arrived, here])
            if KEY.encode() in pickle.dumps(error) or TASK.encode() in pickle.dumps(error):
                wrong.append([name, "the key or the request is in the pickle"])
    return wrong


def refusal(send: Callable[[Client], Any]) -> str:
    """What happens to somebody who sends a client to another process."""
    client = Client(KEY)
    try:
        return repr(send(client))
    except TypeError as error:
        return str(error)


# ---- Programs -----------------------------------------------------------------------------------


def run(mark: str, orders: Orders, inherits: bool, queue: Any) -> None:
    """A process's target."""
    if not inherits:
        set_up(orders)
    queue.put(work(mark))
    OWN["subject"].close()
    queue.put(kinds(BEFORE) if inherits else {})


def process(orders: Orders) -> None:
    """Processes that use the client of a global variable, or make one."""
    context = multiprocessing.get_context(orders["method"])
    inherits = orders["inherits"]
    subject = Subject(orders)
    assert subject.call("first") == "first"
    OWN["subject"], OWN["inherited"] = subject, Inherited(BEFORE)
    results = []
    for mark in ("a", "b"):
        queue = context.Queue()
        child = context.Process(target=run, args=(mark, orders, inherits, queue))
        child.start()
        results += [queue.get(), queue.get()]
        child.join()
        results.append(child.exitcode)
        queue.close()
        queue.join_thread()
        child.close()
    say([results, subject.call("last")])
    subject.close()


def pool(orders: Orders) -> None:
    """A pool whose workers have a client each."""
    context = multiprocessing.get_context(orders["method"])
    set_up(orders)
    assert OWN["subject"].call("first") == "first"
    OWN["inherited"] = Inherited(BEFORE)
    initializer = () if orders["inherits"] else (set_up, (orders,))
    with context.Pool(3, *initializer) as workers:
        say(workers.map(work, [f"{n}" for n in range(24)], chunksize=1))
        say(whole(list(ERRORS), lambda name: workers.apply(fail, (name,))))
        say(refusal(lambda client: workers.apply(repr, (client,))))
        workers.close()
        workers.join()
    say(OWN["subject"].call("last"))
    OWN["subject"].close()


def executor(orders: Orders) -> None:
    """The same by `concurrent.futures`."""
    context = multiprocessing.get_context(orders["method"])
    set_up(orders)
    assert OWN["subject"].call("first") == "first"
    OWN["inherited"] = Inherited(BEFORE)
    initializer: Any = {} if orders["inherits"] else {"initializer": set_up, "initargs": (orders,)}
    with ProcessPoolExecutor(3, mp_context=context, **initializer) as workers:
        say(list(workers.map(work, [f"{n}" for n in range(24)])))
        say(whole(list(ERRORS), lambda name: workers.submit(fail, name).result()))
        say(refusal(lambda client: workers.submit(repr, client).result()))
    say(OWN["subject"].call("last"))
    OWN["subject"].close()


def threads(orders: Orders) -> None:
    """A pool of threads shares one client; what is never awaited ends with the program."""
    set_up(orders)
    with ThreadPoolExecutor(8) as workers:
        say(list(workers.map(work, [f"{n}" for n in range(64)])))
        say(whole(list(ERRORS), lambda name: workers.submit(fail, name).result()))
    late = ThreadPoolExecutor(4)
    fresh = Subject(orders)  # the other one has learnt of a 529 and holds calls back
    results = [late.submit(fresh.call, f"late {n}", hold=True) for n in range(4)]
    say("late")
    # The interpreter waits for these threads; one of them tells.
    threading.Thread(target=lambda: say([each.result() for each in results])).start()


if __name__ == "__main__":
    prepare()
    sys.modules["processes.workers"] = sys.modules["__main__"]
    globals()[sys.argv[1]](json.loads(sys.argv[2]))
