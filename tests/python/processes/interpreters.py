"""Programs with several interpreters: ``python -m processes.interpreters NAME ORDERS``.

Before 3.12 they share one GIL; from there on each has its own.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import promptlathe

from processes.children import TASK, Orders, Subject, descriptors, hear, prepare, say, text_of

try:
    import _interpreters  # type: ignore[import-not-found]
except ImportError:
    import _xxsubinterpreters as _interpreters  # type: ignore[import-not-found]

# What each begins with: this program's path, and words to the program by a pipe.
PRELUDE = """
import json, os, sys
sys.path[:] = {path!r}
import promptlathe
ORDERS = {orders!r}
def tell(words):
    os.write({pipe}, json.dumps(words).encode() + b"\\n")
def text_of(response):
    return response["messages"][0]["content"][0]["text"]
def client():
    return promptlathe.Client("sk-inner", base_url=ORDERS["url"], ca_file=ORDERS["ca_file"])
def call(client, mark, **more):
    return text_of(client.generate("x", extra_headers={{"x-mark": mark, **more}}, timeout=30))
"""


def create(*, legacy: bool) -> Any:
    """Make an interpreter: one like those of the C API's old call, or an isolated one.

    From 3.12 on an isolated one has a GIL of its own.
    """
    if sys.version_info >= (3, 13):
        return _interpreters.create("legacy" if legacy else "isolated")
    return _interpreters.create(isolated=not legacy)


class Interpreter:
    """One more interpreter, and the lines that it tells."""

    def __init__(self, orders: Orders) -> None:
        self._reader, self._writer = os.pipe()
        self.id = create(legacy=orders["legacy"])
        self._lines = open(self._reader)  # noqa: SIM115 # closed by end
        self.run(PRELUDE.format(path=sys.path, orders=orders, pipe=self._writer))

    def run(self, code: str) -> str:
        """Run code in it; the exception that ended it, if any, in words."""
        execute = getattr(_interpreters, "exec", _interpreters.run_string)
        try:
            failure = execute(self.id, code)
        except Exception as error:  # how older Pythons tell
            return str(error)
        return "" if failure is None else f"{failure.type.__name__}: {failure.msg}"

    def told(self) -> Any:
        """What it tells next."""
        return json.loads(self._lines.readline())

    def destroy(self) -> None:
        _interpreters.destroy(self.id)

    def close(self) -> None:
        os.close(self._writer)
        self._lines.close()

    def end(self) -> None:
        self.destroy()
        self.close()


def together(work: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=work, args=[n]) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


CALLS = """
with client() as mine:
    tell([call(mine, "inner {number}") for _ in range(20)])
"""


def at_once(orders: Orders) -> None:
    """Several call at once, the main one too."""
    before = descriptors()
    subject = Subject(orders)
    others = [Interpreter(orders) for _ in range(orders["count"])]
    results: list[Any] = [None] * (len(others) + 1)

    def work(number: int) -> None:
        if number == len(others):
            results[number] = [subject.call("main") for _ in range(20)]
        else:
            failure = others[number].run(CALLS.format(number=number))
            results[number] = failure or others[number].told()

    together(work, len(others) + 1)
    for other in others:
        other.end()
    subject.close()
    say([results, sorted(set(descriptors().items()) - set(before.items()))])


ERRORS = """
import pickle
mine = client()
try:
    call(mine, "refused", **{"x-status": "404"})
except promptlathe.NotFoundError as error:
    again = pickle.loads(pickle.dumps(error))
    tell([error.status_code, error.body, type(again) is type(error), id(type(error))])
promptlathe.validate_messages([{"role": "nobody"}])
"""


def errors(orders: Orders) -> None:
    """Each has classes of its own; what nobody catches comes as words."""
    with_own = Interpreter(orders)
    failure = with_own.run(ERRORS)
    status, body, same, kind = with_own.told()
    say([status, body, same, kind != id(promptlathe.NotFoundError), failure])
    with_own.end()


DEFAULT = """
tell([text_of(promptlathe.generate("x", extra_headers={"x-mark": MARK})) for _ in range(3)])
"""


def default_clients(orders: Orders) -> None:
    """The module's functions use one client in each."""
    before = descriptors()
    say([text_of(promptlathe.generate(TASK, extra_headers={"x-mark": "main"}))] * 3)
    others = [Interpreter(orders) for _ in range(3)]
    for number, other in enumerate(others):
        failure = other.run(f"MARK = 'inner {number}'" + DEFAULT)
        say(failure or other.told())
    for other in others:
        other.end()
    say(text_of(promptlathe.generate(TASK, extra_headers={"x-mark": "main"})))
    say(len(set(descriptors()) - set(before)))


KEEPING = """
import threading
kept = [client(), client()]
copy = kept[0].with_options(timeout=20)
promptlathe.kept = client()
cycle = {"client": client()}
cycle["me"] = cycle
tell([call(each, "kept") for each in (*kept, copy, promptlathe.kept, cycle["client"])])
tell(text_of(promptlathe.generate("x")))
"""


def ends_with_clients(orders: Orders) -> None:
    """The end of one closes what it has; it may come again and again."""
    before = descriptors()
    for _ in range(3):
        other = Interpreter(orders)
        failure = other.run(KEEPING)
        say(failure or [other.told(), other.told()])
        other.end()
    gc.collect()
    say(sorted(set(descriptors().items()) - set(before.items())))


THREADED = """
import threading
mine = client()
def work():
    tell(call(mine, "held", **{"x-hold": "1"}))
threading.Thread(target=work).start()
"""


def ends_in_a_call(orders: Orders) -> None:
    """Its end waits for its threads, as that of the main one does."""
    before = descriptors()
    other = Interpreter(orders)
    failure = other.run(THREADED)
    say(failure)
    hear()  # the server has the call
    say("ending")  # the server answers it now
    other.destroy()
    say(other.told())
    other.close()
    say(sorted(set(descriptors().items()) - set(before.items())))


def left_to_the_end(orders: Orders) -> None:
    """The program ends with interpreters that have clients."""
    other = Interpreter(orders)
    failure = other.run(KEEPING)
    say(failure or [other.told(), other.told()])
    other.close()


def lives(orders: Orders) -> None:
    """Interpreters come and go beside calls of others."""
    subject = Subject(orders)
    stop = threading.Event()
    wrong: list[str] = []

    def calls() -> None:
        while not stop.is_set():
            text = subject.call("main")
            if text != "main":
                wrong.append(text)

    thread = threading.Thread(target=calls)
    thread.start()
    told = []
    for number in range(6):
        other = Interpreter(orders)
        failure = other.run(CALLS.format(number=number))
        told.append(failure or other.told())
        other.end()
    stop.set()
    thread.join()
    subject.close()
    say([told, wrong])


# ---- One interpreter, several lives of the package ----------------------------------------------


def reload(orders: Orders) -> None:
    """importlib.reload runs the package again on the same core; a client goes on."""
    subject = Subject(orders)
    kind = promptlathe.Client
    assert subject.call("before") == "before"
    again = importlib.reload(promptlathe)
    same = again is promptlathe and again.Client is kind
    core = importlib.reload(importlib.import_module("promptlathe._core"))
    same = same and core.Client is kind
    say([same, subject.call("after"), text_of(promptlathe.generate(TASK))])
    subject.close()


def import_again(orders: Orders) -> None:
    """Imported anew after its removal: a state of its own; the old one's types still work."""
    before = descriptors()
    old = Subject(orders)
    assert old.call("old") == "old"
    text_of(promptlathe.generate(TASK))
    for name in [name for name in sys.modules if name.partition(".")[0] == "promptlathe"]:
        del sys.modules[name]
    fresh = importlib.import_module("promptlathe")
    apart = fresh is not promptlathe and fresh.Client is not promptlathe.Client
    apart = apart and not issubclass(fresh.APIError, promptlathe.APIError)
    new = fresh.Client("sk-new", base_url=orders["url"], ca_file=orders["ca_file"])
    texts = [old.call("old"), text_of(new.generate(TASK, extra_headers={"x-mark": "new"}))]
    texts.append(text_of(fresh.generate(TASK)))
    kinds = []
    for package, client in ((promptlathe, old.client), (fresh, new)):
        try:
            client.generate(TASK, extra_headers={"x-status": "404"})
        except package.NotFoundError as error:
            kinds.append(type(error) is package.NotFoundError)
    copy = old.client.with_options(timeout=promptlathe.Timeout(3))
    kinds.append(type(copy) is promptlathe.Client)
    old.close()
    new.close()
    del fresh, new, copy, client, package
    gc.collect()
    say([apart, texts, kinds])
    # The default clients of both live on with their modules.
    say(len(set(descriptors()) - set(before)))


if __name__ == "__main__":
    prepare()
    # Python 3.14 warns of interpreters that it ends itself, and takes offence at its own error then.
    warnings.filterwarnings("ignore", "remaining subinterpreters", RuntimeWarning)
    globals()[sys.argv[1]](json.loads(sys.argv[2]))
