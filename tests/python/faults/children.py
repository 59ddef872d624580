"""What tests run in a Python of its own: ``python -m faults.children NAME ARGUMENTS``."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
import threading
import time

from promptlathe import APIConnectionError, APIError, APITimeoutError, Client, Timeout

from faults.outcome import KEY, TASK, WAYS

HOST = "api.example.invalid"  # 127.0.0.1 by lookup.c


def wait_for_lookup() -> None:
    """Until a look-up hangs."""
    with open(os.environ["LOOKUP_BEGAN"], "rb") as began:
        began.read()


def release_lookups() -> None:
    """Let those that hang go on."""
    with open(os.environ["LOOKUP_GO"], "wb"):
        pass


def say(*words: object) -> None:
    print(*words, flush=True)


def text_of(response: dict) -> str:
    return response["messages"][0]["content"][0]["text"]


def lookup_that_hangs(port: str) -> None:
    """A look-up hangs beyond the time to connect; the next call finds its own way meanwhile."""
    timeout = Timeout(total=5, connect=0.4)
    with Client(
        KEY, base_url=f"http://{HOST}:{port}", allow_http=True, timeout=timeout, max_retries=0
    ) as client:
        started = time.monotonic()
        try:
            client.generate(TASK)
        except APITimeoutError as error:
            say(error.phase, error.attempts, f"{time.monotonic() - started:.3f}")
        started = time.monotonic()
        say(text_of(client.generate(TASK)), f"{time.monotonic() - started:.3f}")


def others_go_on(port: str) -> None:
    """While one call's look-up hangs, another thread's call of the same client is answered."""
    results: list[str] = []
    with Client(KEY, base_url=f"http://{HOST}:{port}", allow_http=True, timeout=5) as client:
        thread = threading.Thread(target=lambda: results.append(text_of(client.generate(TASK))))
        thread.start()
        wait_for_lookup()
        say(text_of(client.generate(TASK)))
        release_lookups()
        thread.join()
        say(*results)


def exit_during_lookup() -> None:
    """The process ends while a call of another thread is in its look-up."""
    client = Client(KEY, base_url=f"http://{HOST}:9", allow_http=True)
    threading.Thread(target=lambda: client.generate(TASK), daemon=True).start()
    wait_for_lookup()
    sys.exit(7)


def interrupt_in_resolve(port: str) -> None:
    """SIGINT while the look-up hangs; the next call does not wait for it."""
    sent = 0.0

    def interrupt() -> None:
        nonlocal sent
        wait_for_lookup()
        sent = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with Client(KEY, base_url=f"http://{HOST}:{port}", allow_http=True, timeout=None) as client:
        try:
            client.generate(TASK)
        except KeyboardInterrupt:
            say("KeyboardInterrupt", f"{time.monotonic() - sent:.3f}")
        say(text_of(client.generate(TASK)))


def one_call(url: str, ca_file: str) -> None:
    """A call and its outcome, in whatever environment the test has set."""
    with Client(KEY, base_url=url, ca_file=ca_file, timeout=5, max_retries=0) as client:
        try:
            say(text_of(client.generate(TASK)))
        except APIConnectionError as error:
            say(error.phase, error)


def no_descriptors(url: str, way: str) -> None:
    """Calls of a client that has a connection and of one that has none, while the process cannot
    open anything and once it can again."""
    with WAYS[way](url, max_retries=0) as used, WAYS[way](url, max_retries=0) as new:
        say(text_of(used.generate(TASK)))
        taken = fill_descriptors()
        for client in (used, new, used, new):
            try:
                say(text_of(client.generate(TASK)))
            except MemoryError as error:
                say("MemoryError" if "file descriptors" in str(error) else repr(error))
        for number in taken:
            os.close(number)
        for client in (used, new):
            say(text_of(client.generate(TASK)))


def fill_descriptors() -> list[int]:
    """Open all that there can be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    taken = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        assert error.errno == errno.EMFILE
    return taken


def peak() -> int:
    """The most memory that was resident so far, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def gzip_bomb(url: str) -> None:
    """A body that would fill 160 MiB; the client is used before, so that only the body counts."""
    with Client(KEY, base_url=url) as client:
        before = peak()
        try:
            client.generate(TASK)
        except APIError as error:
            say(type(error).__name__, error.attempts, peak() - before)
        text_of(client.generate(TASK))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
