"""The far end of a route: another network namespace, and servers in it."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from faults.raw_server import Handler, RawServer

HERE, THERE = "192.0.2.1", "192.0.2.2"  # for documentation: nobody has them
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


class Far:
    """A namespace at the end of a virtual cable; it lives as long as the process that holds it.

    That process ends when its input does, so that a killed test leaves nothing either.
    """

    def __enter__(self) -> Self:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo there && exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout and self._holder.stdout.readline() == b"there\n"
        self._namespace = f"/proc/{self._holder.pid}/ns/net"
        self.here(f"link add near type veth peer name far netns {self._holder.pid}")
        self.here(f"address add {HERE}/30 dev near")
        self.here("link set near up")
        self.there(f"address add {THERE}/30 dev far")
        self.there("link set far up")
        return self

    def __exit__(self, *_: object) -> None:
        self.here("link delete near")
        self._holder.communicate()

    def here(self, command: str) -> None:
        """Run a command of ip at the client's end."""
        subprocess.run(["ip", *command.split()], check=True)

    def there(self, command: str) -> None:
        """Run a command of ip at the far end."""
        enter = ["nsenter", f"--net={self._namespace}"]
        subprocess.run([*enter, "ip", *command.split()], check=True)

    def unplug(self) -> None:
        """Take the link down at the far end: nothing arrives in either direction."""
        self.there("link set far down")

    def swallow(self) -> None:
        """Drop without a word whatever the far end says; what is said to it arrives."""
        self.there(f"route replace blackhole {HERE}/32")

    def lighten(self) -> None:
        """Make the route whole again."""
        self.there("link set far up")
        self.there("route flush type blackhole")

    def listener(self) -> socket.socket:
        """A listening socket of the far end: a thread goes there, makes it, and ends."""

        def listen() -> socket.socket:
            namespace = os.open(self._namespace, os.O_RDONLY)
            try:
                if libc.setns(namespace, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(namespace)
            return socket.create_server((THERE, 0))

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(listen).result()


class FarServer(RawServer):
    """A RawServer at the far end."""

    def __init__(self, far: Far, *handlers: Handler) -> None:
        super().__init__(*handlers)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads.pop().join()
        self._listener.close()
        self._listener = far.listener()
        self.port = self._listener.getsockname()[1]
        self.authority = f"{THERE}:{self.port}"
        self.url = f"http://{self.authority}"
        self._start(self._accept)
