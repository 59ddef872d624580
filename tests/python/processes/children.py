"""What tests run in a Python of its own: ``python -m processes.children NAME ORDERS``.

Each function is a program's main thread. It speaks with its test by `say` and `hear`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import promptlathe
import promptlathe._log  # no fork may come upon a thread that imports: Python's own lock stays taken

Orders = dict[str, Any]
KEY = "sk-test-0123456789abcdef"
TASK = "Write a haiku about rivers"
HOLD = {"x-hold": "1"}


def say(words: object = None) -> None:
    """One line to the test."""
    print(json.dumps(words), flush=True)


def hear() -> Any:
    """One line from the test."""
    line = sys.stdin.readline()
    if not line:
        os._exit(9)  # the test has failed
    return json.loads(line)


def descriptors() -> dict[int, str]:
    """What is open, and what it leads to."""
    found = {}
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue  # the directory's own
    return found


def is_local(number: int) -> bool:
    """Whether it is one end of a pair that libcurl has made to wake itself."""
    with socket.socket(fileno=os.dup(number)) as sock:
        return sock.family == socket.AF_UNIX


def about(number: int) -> str:
    """What the system tells of a descriptor; nothing of one that is closed."""
    try:
        return Path(f"/proc/self/fdinfo/{number}").read_text(encoding="ascii")
    except FileNotFoundError:
        return ""


def wakes() -> list[int]:
    """The eventfds of this process's engines, one each. Python's event loops and libcurl have epoll
    sets and eventfds too, but only an engine watches one by edges."""
    epolls = [n for n, to in descriptors().items() if to == "anon_inode:[eventpoll]"]
    found = [re.findall(r"^tfd: *(\d+) events: *8[0-9a-f]{7} ", about(n), re.M) for n in epolls]
    return [int(number) for numbers in found for number in numbers]


def identity(eventfd: int) -> str:
    """What tells an eventfd from all others; nothing where the system does not know."""
    found = re.search(r"^eventfd-id: *(\d+)", about(eventfd), re.M)
    return found[1] if found else ""


def text_of(response: Any) -> str:
    text: str = response["messages"][0]["content"][0]["text"]
    return text


# ---- Ways to call -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Driver:
    """One kind of client: how to make one, to call and wait for the answer, and to close it."""

    make: Callable[..., Any]
    call: Callable[..., Any]
    close: Callable[[Any], None]


def call_sync(client: promptlathe.Client, task: str, **options: Any) -> Any:
    return client.generate(task, **options)


def call_map(client: promptlathe.Client, task: str, **options: Any) -> Any:
    with client.map([{"verb": "generate", "task": task, **options}]) as results:
        (response,) = results
    return response


def _is_fault(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Executing ")  # a busy machine is none


# In the developer's mode asyncio writes of callbacks that took long.
logging.getLogger("asyncio").addFilter(_is_fault)


class Looped(promptlathe.AsyncClient):
    """A client with an event loop that runs in a thread of its own; in a child, in another one."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._begin()

    def _begin(self) -> None:
        self._home, self._loop = os.getpid(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        if self._home == os.getpid() and self._loop.is_closed():
            return asyncio.run(work)
        if self._home != os.getpid():
            INHERITED.append(self._loop)  # nobody runs it here, and nobody may close it
            self._begin()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _finish(self) -> None:
        await self.close()  # the calls that it ends end in this loop, a little later
        if calls := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(calls)

    def end(self) -> None:
        self.run(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


INHERITED: list[asyncio.AbstractEventLoop] = []


def call_async(client: Looped, task: str, **options: Any) -> Any:
    return client.run(client.generate(task, **options))


DRIVERS = {
    "sync": Driver(promptlathe.Client, call_sync, promptlathe.Client.close),
    "async": Driver(Looped, call_async, Looped.end),
    "map": Driver(promptlathe.Client, call_map, promptlathe.Client.close),
}


class Subject:
    """The client under test."""

    def __init__(self, orders: Orders, **options: Any) -> None:
        self.orders, self.driver = orders, DRIVERS[orders.get("driver", "sync")]
        patience = promptlathe.Timeout(total=40, connect=40)  # a stage may hold a handshake
        usual = {"ca_file": orders["ca_file"], "allow_http": True, "timeout": patience}
        self.client = self.driver.make(KEY, base_url=orders["url"], **usual, **options)

    def call(self, mark: str, *, hold: bool = False, more: str = "") -> str:
        """The text of the answer, or the name of the exception and its words."""
        headers = {"x-mark": mark, **(HOLD if hold else {})}
        try:
            return text_of(self.driver.call(self.client, mark + more, extra_headers=headers))
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    def close(self) -> None:
        self.driver.close(self.client)


class Call:
    """A call that the server holds, in a thread of its own."""

    def __init__(self, subject: Subject, mark: str, *, daemon: bool = True) -> None:
        self.subject, self.mark, self.result = subject, mark, ""
        self.begun = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=daemon)
        self.thread.start()
        self.begun.wait()

    def _run(self) -> None:
        self.begun.set()
        more = " " * self.subject.orders["size"]
        self.result = self.subject.call(self.mark, hold=True, more=more)

    def end(self) -> str:
        self.thread.join()
        return self.result


def enter(orders: Orders, *, daemon: bool = True, **options: Any) -> tuple[Subject, list[Call]]:
    """A client with its calls where the test's stage wants them."""
    subject = Subject(orders, **options)
    if orders["used"]:
        assert subject.call("first") == "first"
    calls = [Call(subject, f"held {n}", daemon=daemon) for n in range(orders["calls"])]
    if orders["lookup"]:
        with open(os.environ["LOOKUP_BEGAN"], "rb") as began:
            began.read()  # until the look-up hangs
    say("entered")
    hear()
    return subject, calls


# ---- Children of a fork -------------------------------------------------------------------------


def quiet(*_: object) -> None:
    """In place of a traceback that a test asks for."""


def leave(way: str) -> NoReturn:
    """End this process, a child."""
    if way == "os._exit":
        os._exit(3)
    if way == "sys.exit":
        sys.exit(3)
    sys.excepthook = quiet
    raise RuntimeError("the child's end")


def forked(work: Callable[[], Any], way: str = "os._exit") -> tuple[Any, int]:
    """What `work` returns in a child, and the child's exit code."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        report = work()
        with open(writer, "w") as out:
            json.dump(report, out)
        leave(way)
    os.close(writer)
    with open(reader) as report_of_child:
        text = report_of_child.read()
    _, status = os.waitpid(child, 0)
    return json.loads(text or "null"), os.waitstatus_to_exitcode(status)


class Inherited:
    """The sockets and eventfds that a client has when its process forks."""

    def __init__(self, before: dict[int, str]) -> None:
        self.before = before
        new = {to for n, to in descriptors().items() if before.get(n) != to}
        self.links = {to for to in new if to.startswith("socket:")}
        self.wakes = set(filter(None, map(identity, wakes())))

    def still_open(self) -> list[str]:
        """Those of the sockets that lead out of the process and are open here."""
        return sorted(to for n, to in descriptors().items() if to in self.links and not is_local(n))

    def left_to_child(self) -> list[str]:
        """What of all that is open in a child."""
        eventfds = [n for n, to in descriptors().items() if to == "anon_inode:[eventfd]"]
        return self.still_open() + sorted(self.wakes & set(map(identity, eventfds)))


def kinds(before: dict[int, str]) -> dict[str, int]:
    """How many engines there are, and sockets beyond those of `before` that lead elsewhere."""
    new = {number: to for number, to in descriptors().items() if number not in before}
    sockets = [n for n, to in new.items() if to.startswith("socket:") and not is_local(n)]
    found = {"engine": len(wakes()), "socket": len(sockets)}
    return {kind: count for kind, count in found.items() if count}


def use_inherited(subject: Subject, inherited: Inherited, mark: str = "child") -> Orders:
    """A child's own use of the parent's client: on connections of its own, and nothing is left."""
    # Asked before the child has an eventfd of its own: the system gives a number once more when the
    # parent has closed the one that had it.
    report: Orders = {"inherited": inherited.left_to_child()}
    report["answer"] = subject.call(mark)
    report["again"] = subject.call(mark)
    report["kinds"] = kinds(inherited.before)
    subject.close()
    report["left"] = kinds(inherited.before)
    return report


def conclude(subject: Subject, calls: list[Call], before: dict[int, str]) -> None:
    """The parent's side after all children have gone: its calls end, and nothing is left."""
    if subject.orders["lookup"]:
        with open(os.environ["LOOKUP_GO"], "wb"):
            pass  # it may go on
    report: Orders = {"held": [call.end() for call in calls], "last": subject.call("last")}
    subject.close()
    report["left"] = sorted(set(descriptors().items()) - set(before.items()))
    say(report)


def fork(orders: Orders) -> None:
    """Fork at a stage; the child calls on the same client and leaves in some way."""
    before = descriptors()
    subject, calls = enter(orders)
    inherited = Inherited(before)

    def work() -> Orders:
        say("forked")
        hear()
        return use_inherited(subject, inherited)

    say(forked(work, orders["way"]))
    hear()
    conclude(subject, calls, before)


def fork_nested(orders: Orders) -> None:
    """A child with a call in flight forks in turn, three deep."""
    before = descriptors()
    subject, calls = enter(orders)

    def descend(depth: int) -> Callable[[], Any]:
        inherited = Inherited(before)

        def work() -> Any:
            own = Call(subject, f"depth {depth}")
            say("calling")
            hear()  # the server has the call
            deeper = forked(descend(depth + 1)) if depth < 3 else None
            say("release")
            hear()
            return [own.end(), inherited.left_to_child(), deeper]

        return work

    say(forked(descend(1)))
    hear()
    conclude(subject, calls, before)


def fork_idle_child(orders: Orders) -> None:
    """The child never uses the client; the parent closes it meanwhile."""
    before = descriptors()
    subject, calls = enter(orders)
    inherited = Inherited(before)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        report = [inherited.left_to_child(), kinds(before)]
        hear()  # the server has seen the parent's end
        with open(writer, "w") as out:
            json.dump([*report, subject.call("child")], out)
        leave("os._exit")
    os.close(writer)
    subject.close()
    say([call.end() for call in calls])
    with open(reader) as report_of_child:
        say(json.load(report_of_child))
    os.waitpid(child, 0)


def fork_in_signal_handler(orders: Orders) -> None:
    """A handler that forks while the main thread waits in a call."""
    before = descriptors()
    subject = Subject(orders)
    child = 0
    where: list[Inherited] = []
    reader, writer = os.pipe()

    def handler(*_: object) -> None:
        nonlocal child
        where.append(Inherited(before))
        child = os.fork()

    signal.signal(signal.SIGUSR1, handler)
    say("entered")
    outcome = subject.call("own", hold=True)
    if not child:
        report = {"outcome": outcome, **use_inherited(subject, where[0])}
        with open(writer, "w") as out:
            json.dump(report, out)
        leave(orders["way"])
    os.close(writer)
    with open(reader) as report_of_child:
        say([outcome, json.load(report_of_child)])
    os.waitpid(child, 0)
    hear()
    conclude(subject, [], before)


def fork_in_logging(orders: Orders) -> None:
    """A logging filter that forks at a retry, within the call that is retried."""
    before = descriptors()
    children: list[int] = []
    where: list[Inherited] = []
    reader, writer = os.pipe()

    def look(record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING and not children:
            where.append(Inherited(before))
            children.append(os.fork())
        return True

    # Not a handler: logging itself gives up the lock of one in a child that then releases it.
    logging.getLogger("promptlathe").addFilter(look)
    subject = Subject(orders)
    outcome = subject.call("own", hold=True)
    if not children[0]:
        report = {"outcome": outcome, **use_inherited(subject, where[0])}
        with open(writer, "w") as out:
            json.dump(report, out)
        leave(orders["way"])
    os.close(writer)
    with open(reader) as report_of_child:
        say([outcome, json.load(report_of_child)])
    os.waitpid(children[0], 0)
    hear()
    conclude(subject, [], before)


def fork_under_threads(orders: Orders) -> None:
    """Threads call without rest while the main thread forks again and again."""
    before = descriptors()
    subject = Subject(orders)
    stop = threading.Event()
    marks: list[list[str]] = [[] for _ in range(orders["threads"])]
    wrong: list[str] = []

    def work(number: int) -> None:
        while not stop.is_set():
            mark = f"thread {number} {len(marks[number])}"
            text = subject.call(mark)
            marks[number].append(mark)
            if text != mark:
                wrong.append(f"{mark}: {text}")

    threads = [threading.Thread(target=work, args=[n]) for n in range(orders["threads"])]
    for thread in threads:
        thread.start()
    children = []
    for n in range(orders["forks"]):
        inherited = Inherited(before)
        if orders["driver"] == "map":  # whose eventfds come and go: libcurl's own get their numbers
            inherited.wakes.clear()
        children.append(forked(lambda n=n, i=inherited: use_inherited(subject, i, f"child {n}")))
    stop.set()
    for thread in threads:
        thread.join()
    subject.close()
    left = sorted(set(descriptors().items()) - set(before.items()))
    say({"children": children, "wrong": wrong, "marks": marks, "left": left})


def fork_at_first_use(orders: Orders) -> None:
    """Fork at many moments of a process's very first call, which sets the TLS library up."""
    before = descriptors()

    def at(moment: float) -> Callable[[], Any]:
        def work() -> Any:
            subject = Subject(orders)
            thread = threading.Thread(target=subject.call, args=["parent"], daemon=True)
            thread.start()
            thread.join(moment)
            return forked(lambda: use_inherited(subject, Inherited(before)))

        return work

    say([forked(at(n * 0.0004)) for n in range(orders["forks"])])


def fork_beside_life(orders: Orders) -> None:
    """Clients are made, used and closed in one thread while another forks."""
    before = descriptors()
    stop = threading.Event()
    rounds = 0
    # Without a GIL a dict that threads share may be locked for ever in a child, whatever it calls.
    own = dict(orders)

    def live() -> None:
        nonlocal rounds
        while not stop.is_set():
            subject = Subject(orders)
            copy = subject.client.with_options(timeout=5)
            if rounds % 2:
                assert subject.call("round") == "round"
            copy.close()
            subject.close()
            rounds += 1

    def work() -> str:
        fresh = Subject(own)
        answer = fresh.call("child")
        fresh.close()
        return answer

    threads = [threading.Thread(target=live) for _ in range(4)]
    for thread in threads:
        thread.start()
    children = [forked(work) for _ in range(orders["forks"])]
    stop.set()
    for thread in threads:
        thread.join()
    left = sorted(set(descriptors().items()) - set(before.items()))
    say({"children": children, "rounds": rounds, "left": left})


def fork_in_collection(orders: Orders) -> None:
    """A finalizer forks while the collector takes clients away that are idle."""
    before = descriptors()
    results: list[Any] = []
    outer = Subject(orders)
    assert outer.call("first") == "first"

    class Cycle:
        def __init__(self) -> None:
            self.me, self.subject = self, Subject(orders)

        def __del__(self) -> None:
            inherited = Inherited(before)
            results.append(forked(lambda: use_inherited(outer, inherited)))

    gc.disable()
    for _ in range(3):
        assert Cycle().subject.call("cycle") == "cycle"
    gc.collect()
    assert outer.call("last") == "last"
    outer.close()
    say([results, sorted(set(descriptors().items()) - set(before.items()))])


# ---- Programs started beside it -----------------------------------------------------------------


def spawn(orders: Orders) -> None:
    """Other programs are started while calls are in flight; they must hold none of ours."""
    before = descriptors()
    subject, calls = enter(orders)
    inherited = Inherited(before)
    script = "import os, json; print(json.dumps([os.readlink('/proc/self/fd/' + n) for n in " + (
        "os.listdir('/proc/self/fd') if os.path.islink('/proc/self/fd/' + n)]))"
    )
    command = [sys.executable, "-c", script]
    seen = {}
    run = subprocess.run(command, capture_output=True, check=True, close_fds=False)
    seen["subprocess"] = run.stdout
    run = subprocess.run(
        command, capture_output=True, check=True, close_fds=False, preexec_fn=os.getpid
    )
    seen["preexec_fn"] = run.stdout
    for name in ("posix_spawn", "posix_spawnp"):
        reader, writer = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, writer, 1)]
        child = getattr(os, name)(command[0], command, os.environ, file_actions=actions)
        os.close(writer)
        with open(reader, "rb") as out:
            seen[name] = out.read()
        os.waitpid(child, 0)
    ours = set(inherited.still_open())
    held = {name: sorted(ours & set(json.loads(out))) for name, out in seen.items()}
    epolls = {name: out.count(b"anon_inode") for name, out in seen.items()}
    say([held, epolls, len(ours)])
    hear()
    conclude(subject, calls, before)


def prepare() -> None:
    """For every program: what Python itself has to say about forks is known."""
    # A child cannot close the event loop that ran in its parent.
    warnings.filterwarnings("ignore", "unclosed (event loop|<socket)", ResourceWarning)
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)


if __name__ == "__main__":
    prepare()
    globals()[sys.argv[1]](json.loads(sys.argv[2]))
