"""TLS for random_server.py, by hand over an asyncio connection, so that its parts can be spoilt."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from random import Random
from typing import Any

from faults.raw_server import Gone
from faults.tls import Authority

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
HANDSHAKES = ["", "slow", "silent", "foreign", "cut", "damaged"]
SPEAK = {"http1": "http/1.1", "http2": "h2"}
NO_HANDSHAKE = [
    b"\x15\x03\x03\x00\x02\x02\x28",  # an alert: handshake_failure
    b"\x15\x03\x03\x00\x02\x01\x00",  # an alert: close_notify
    b"\x17\x03\x03\x00\x05hello",
    b"\x16\x03\x03\xff\xff" + bytes(300),
    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
]

Contexts = dict[tuple[ssl.TLSVersion, str], ssl.SSLContext]


def contexts(authority: Authority) -> Contexts:
    """A server's contexts, with one certificate, by version and by what is spoken over them."""
    files = authority.files("127.0.0.1")
    made = {}
    for version in VERSIONS:
        for speak, protocol in SPEAK.items():
            context = made[version, speak] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = context.maximum_version = version
            context.load_cert_chain(*files)
            context.set_alpn_protocols([protocol])
    return made


class Tls:
    """Reader and writer of a connection, in place of those of TCP, and what they do amiss."""

    def __init__(self, connection: Any, random: Random, made: Contexts, speak: str) -> None:
        self.random, self.play, self.note = random, connection.play, connection.note
        self.reader, self.writer, self.finish = (
            connection.reader,
            connection.writer,
            connection.finish,
        )
        self.transport, self.get_extra_info = self.writer.transport, self.writer.get_extra_info
        self.is_closing = self.writer.is_closing
        self.handshake = random.choices(HANDSHAKES, [82, 8, 2, 2, 4, 2])[0]
        self.goodbye = random.random() < 0.6  # it closes in good order
        self.spoilt = random.randint(1, 12) if random.random() < 0.15 else 0  # which writing is
        self.spoiling = random.choice(["cut", "damaged"])
        self.end = random.choice(["close", "close", "reset", "hold"])
        self.arrived, self.leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = made[random.choice(VERSIONS), speak]
        self.tls = context.wrap_bio(self.arrived, self.leaving, server_side=True)

    async def shake(self) -> None:
        """The handshake, or what there is in its place."""
        how = "" if self.play.calm else self.handshake
        if how:
            self.note("handshake", how, self.end)
        if how in ("silent", "foreign"):  # from the ClientHello on
            await self.reader.read(1 << 16)
            self.writer.write(self.random.choice(NO_HANDSHAKE) if how == "foreign" else b"")
            await self.finish("hold" if how == "silent" else self.end)
        turn = self.random.randint(1, 2)
        while True:
            try:
                self.tls.do_handshake()
                return await self.flush()
            except ssl.SSLWantReadError:
                turn -= 1
                await self.flush(how if turn == 0 or how == "slow" else "")
                await self.receive()

    async def receive(self) -> None:
        if not (data := await self.reader.read(1 << 18)):
            raise Gone
        self.arrived.write(data)

    async def flush(self, how: str = "") -> None:
        """Send what there is to send, the whole of it or not."""
        data = bytearray(self.leaving.read())
        place = self.random.randrange(len(data) or 1)
        if how == "damaged" and data:
            data[place] ^= 1 << self.random.randrange(8)
        if how == "slow":
            self.writer.write(data[:place])
            await asyncio.sleep(self.random.uniform(0.001, 0.05))
            del data[:place]
        self.writer.write(data[:place] if how == "cut" else data)
        await self.writer.drain()
        if how == "cut":
            await self.finish(self.end)

    async def read(self, size: int) -> bytes:
        while True:
            try:
                return self.tls.read(size)
            except ssl.SSLWantReadError:
                await self.flush()
                await self.receive()

    def write(self, data: bytes) -> None:
        self.tls.write(data)

    async def drain(self) -> None:
        self.spoilt -= 1
        spoilt = self.spoilt == 0 and not self.play.calm
        if spoilt:
            self.note(self.spoiling, self.end)
        await self.flush(self.spoiling if spoilt else "")

    def close(self) -> None:
        if self.goodbye and not self.is_closing():
            with contextlib.suppress(ssl.SSLError):  # the client's own goodbye has not come
                self.tls.unwrap()
            self.writer.write(self.leaving.read())
        self.writer.close()
