"""A server whose misbehaviour is drawn from a seed, in a process of its own.

``python -m faults.random_server SEED FOLDER`` prints the port of its control connections, when the
authority for its certificates is in the folder. Each script has one of them:

    open NUMBER   ->  the URL at which this script is played
    calm          ->  ok; from here on every request has a good answer
    end           ->  JSON: how many requests came for each id, what was done in which order, and
                      for how many seconds this process itself was held up at most, meanwhile

What an answer is depends on the seed, the script's number, the request's id and its attempt; what
a connection does besides, on which of the script's connections it is: not on time. (Over HTTP/2 the
attempt is counted here, as the client's headers are not decoded.) Three scripts in five speak plain
HTTP/1.1, one HTTP/1.1 over TLS, one HTTP/2, of whose connections a few speak HTTP/1.1 after all. There
are no floods of frames: libcurl 7.88 reads on beyond a deadline as long as they come. A task holds its
id as ``<SCRIPT:CALL>``; every answer that is not garbage repeats it, and has the request-id
``req_SCRIPT_CALL``.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import socket
import ssl
import struct
import sys
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from faults import http2_server as h2
from faults import random_tls
from faults.http2_server import frame
from faults.random_tls import Tls
from faults.raw_server import Gone
from faults.tls import Authority

PATIENCE = 20.0  # seconds for which a connection without an end is kept
IDENT = re.compile(rb"<\d+:\d+>|req_\d+_\d+")  # is never damaged: it tells whose answer it is
STATUSES = [400, 401, 403, 404, 408, 409, 410, 413, 418, 422, 500, 501, 502, 503, 504, 505, 599]
STATUSES += [201, 202, 204, 206, 300, 301, 302, 303, 304, 307, 308, 429, 429, 529, 529]
HINTS = [
    *(f"retry-after-ms: {ms}" for ms in (1, 5, 20, 50, 100)),
    *(f"retry-after: {seconds}" for seconds in ("0.01", "0.05", "0", "-1", "soon", "1e999", "")),
    "retry-after: Wed, 21 Oct 2015 07:28:00 GMT",
    "x-should-retry: true",
    "x-should-retry: false",
]
LIMITS = [
    "anthropic-ratelimit-requests-limit: 50",
    "anthropic-ratelimit-requests-remaining: 49",
    "anthropic-ratelimit-tokens-remaining: many",
    "anthropic-ratelimit-requests-reset: 2001-01-01T00:00:00Z",
    "anthropic-ratelimit-requests-reset: tomorrow",
]


# ---- What is sent -------------------------------------------------------------------------------


@dataclass
class Reply:
    """Pieces, each after a pause in seconds, and how the connection goes on."""

    kind: str
    pieces: list[tuple[float, bytes]]
    end: str = "keep"  # "keep", "close", "reset" or "hold"
    whole: bool = False  # HTTP/2: its pieces are no whole frames, nothing may come between them


@dataclass
class Draft:
    """A response that is not sent yet: its parts, so that each can be spoilt."""

    status: str
    body: bytes
    lines: list[str] = field(default_factory=list)
    framing: str = "length"  # "length", "chunked" or "close"
    length: str | None = None  # what is said in place of the true one

    def head(self) -> bytes:
        lines = [self.status, *self.lines]
        if self.framing == "length":
            lines.append(
                f"content-length: {len(self.body) if self.length is None else self.length}"
            )
        if self.framing == "chunked":
            lines.append("transfer-encoding: chunked")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def whole(self, random: Random) -> bytes:
        body = chunked(self.body, random) if self.framing == "chunked" else self.body
        return self.head() + body


def chunked(body: bytes, random: Random) -> bytes:
    """The body in chunks of some sizes."""
    result = b""
    while body:
        size = random.randint(1, 4096) if random.random() < 0.5 else random.randint(1, 60)
        piece, body = body[:size], body[size:]
        extension = b";name=value" if random.random() < 0.1 else b""
        result += b"%x%s\r\n%s\r\n" % (len(piece), extension, piece)
        if result.count(b"\r\n") > 80:
            result, body = result + (b"%x\r\n%s\r\n" % (len(body), body) if body else b""), b""
    return result + (b"0\r\ntrailer: yes\r\n\r\n" if random.random() < 0.2 else b"0\r\n\r\n")


def result_of(script: int, call: int, filler: str = "") -> dict[str, Any]:
    """A body that passes for each verb and says whose it is."""
    text = f"<{script}:{call}>{filler}"
    return {
        "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}],
        "system": "",
        "usage": {"input_tokens": 1},
        "variable_values": {},
    }


def good(random: Random, script: int, call: int) -> Draft:
    """A correct answer, in one of its many forms."""
    filler = "é{{WORD}} " * random.choice([0, 0, 1, 20, 300])
    body = json.dumps(result_of(script, call, filler)).encode()
    draft = Draft("HTTP/1.1 200 OK", body, [f"request-id: req_{script}_{call}"])
    draft.framing = random.choice(["length", "length", "chunked"])
    if random.random() < 0.3:
        draft.body = gzip.compress(body, 1)
        draft.lines.append("content-encoding: gzip")
    if random.random() < 0.2:
        draft.lines += random.sample(LIMITS, random.randint(1, 4))
    if random.random() < 0.1:
        draft.lines += [f"x-{number}: {'y' * 50}" for number in range(random.randint(1, 100))]
    return draft


def in_pieces(random: Random, data: bytes) -> list[tuple[float, bytes]]:
    """Cut data at random places, with pauses between."""
    if random.random() < 0.5:
        return [(pause(random), data)]
    count = random.choice([2, 2, 3, 5, 10])
    places = sorted(random.randint(0, len(data)) for _ in range(count - 1))
    ends = zip([0, *places], [*places, len(data)], strict=True)
    return [(pause(random), data[begin:end]) for begin, end in ends]


def pause(random: Random) -> float:
    return random.uniform(0.001, 0.03) if random.random() < 0.3 else 0.0


def interim(random: Random) -> bytes:
    """Some 1xx responses, mostly none."""
    if random.random() < 0.85:
        return b""
    lines = ["100 Continue", "102 Processing", "103 Early Hints\r\nlink: </x>", "199 Odd"]
    chosen = random.choices(lines, k=random.randint(1, 3))
    return "".join(f"HTTP/1.1 {line}\r\n\r\n" for line in chosen).encode()


# ---- The kinds of replies -----------------------------------------------------------------------


def reply_good(random: Random, script: int, call: int) -> Reply:
    draft = good(random, script, call)
    end = random.choice(["keep", "keep", "keep", "close", "reset"])
    if end == "close" and random.random() < 0.5:
        draft.lines.append("connection: close")
    data = interim(random) + draft.whole(random)
    return Reply("good", in_pieces(random, data), end)


def reply_extra(random: Random, script: int, call: int) -> Reply:
    """A good answer with more behind it, in one piece: the next must not take it for its own."""
    draft = good(random, script, call)
    stray = Draft("HTTP/1.1 200 OK", json.dumps(result_of(script, 999999)).encode()).whole(random)
    more = random.choice([stray, stray[:40], b"\r\n", b"0\r\n\r\n", random.randbytes(20)])
    return Reply("extra", [(pause(random), draft.whole(random) + more)])


def reply_cut(random: Random, script: int, call: int) -> Reply:
    data = interim(random) + good(random, script, call).whole(random)
    data = data[: random.randrange(len(data))]
    end = random.choice(["close", "close", "reset", "hold"])
    return Reply("cut", in_pieces(random, data), end)


def draft_status(random: Random, script: int, call: int) -> Draft:
    status = random.choice(STATUSES)
    fault = {"type": "api_error", "message": f"no <{script}:{call}>"}
    if random.random() < 0.1:
        fault = {"type": None, "message": 5}  # type: ignore[dict-item]
    error = {"type": "error", "error": fault, "request_id": f"req_{script}_{call}"}
    body = random.choice([json.dumps(error).encode()] * 3 + [b"<html>no</html>", b"", b"null"])
    draft = Draft(f"HTTP/1.1 {status} Drawn", body)
    if random.random() < 0.7:
        draft.lines.append(f"request-id: req_{script}_{call}")
    if random.random() < 0.6:
        draft.lines += random.sample(HINTS, random.randint(1, 2))
    if 300 <= status < 400:
        draft.lines.append("location: https://elsewhere.invalid/")
    draft.framing = random.choice(["length", "chunked"])
    if status in (204, 304):
        draft.framing, draft.body = "close", b""
    return draft


def reply_status(random: Random, script: int, call: int) -> Reply:
    draft = draft_status(random, script, call)
    return Reply("status", in_pieces(random, draft.whole(random)), random.choice(["keep", "close"]))


def reply_framing(random: Random, script: int, call: int) -> Reply:
    """A good answer whose framing is wrong."""
    draft = good(random, script, call)
    end = random.choice(["close", "reset", "hold", "keep"])
    fault = random.randrange(9)
    if fault == 0:
        draft.framing, draft.length = "length", str(len(draft.body) + random.randint(1, 50))
    elif fault == 1:
        draft.framing, draft.length = "length", str(random.randrange(len(draft.body)))
    elif fault == 2:
        draft.framing, draft.length = (
            "length",
            random.choice(["-1", "x", "", "9" * 30, "1 2", "+5"]),
        )
    elif fault == 3:
        draft.lines.append(f"content-length: {random.randint(0, 500)}")
    elif fault == 4:
        draft.lines.append(
            f"transfer-encoding: {random.choice(['chunked', 'gzip', 'identity', 'x'])}"
        )
    elif fault == 5:
        draft.framing, end = "close", "close"
    elif fault == 6:
        draft.lines.append("content-encoding: " + random.choice(["gzip", "br", "gzip, gzip", "x"]))
    elif fault == 7:
        draft.lines.append(
            random.choice(["no colon", "nul: \0", " folded", ": nameless", "a b: c"])
        )
    else:
        return _bad_chunk(random, draft, end)
    return Reply("framing", in_pieces(random, draft.whole(random)), end)


def _bad_chunk(random: Random, draft: Draft, end: str) -> Reply:
    size = random.choice([b"zz", b"-5", b"", b"f" * 20, b"5", b"0x10"])
    head = Draft(draft.status, b"", draft.lines, "chunked").head()
    return Reply("chunk", in_pieces(random, head + size + b"\r\n" + draft.body + b"\r\n"), end)


def draft_body(random: Random, script: int, call: int) -> Draft:
    """A 200 with an unusable body."""
    body = random.choice(
        [
            b"",
            b"null",
            b"[]",
            b"{}",
            b"<html></html>",
            b'{"messages": NaN}',
            b'{"messages": [{"role": "user", "content": 5}], "system": "", "usage": {}}',
            b'{"messages": [], "system": 1e999}',
            b'{"messages": "\xff\xfe"}',
            b"[" * 3000,
            b'{"type": "error", "error": {"type": "overloaded_error", "message": "no"}}',
            b'\xef\xbb\xbf{"messages": []}',
            b'{"messages": [], "system": "", "usage": {}',
        ]
    )
    draft = Draft("HTTP/1.1 200 OK", body, [f"request-id: req_{script}_{call}"])
    draft.framing = random.choice(["length", "chunked"])
    return draft


def reply_body(random: Random, script: int, call: int) -> Reply:
    draft = draft_body(random, script, call)
    return Reply("body", in_pieces(random, draft.whole(random)), random.choice(["keep", "close"]))


def reply_garbage(random: Random, script: int, call: int) -> Reply:
    data = random.choice(
        [
            random.randbytes(random.randint(1, 300)),
            b"HTTP/0.9 200 OK\r\n\r\nold",
            b"HTTP/3.7 200 OK\r\n\r\n",
            b"HTTP/1.1 2x0 Odd\r\n\r\n",
            b"HTTP/1.1 99999 Long\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nwhatever",
            b"\r\n\r\n\r\n",
            b"ICY 200 OK\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"HTTP/1.1 100 Continue\r\n\r\n" * 150,
            b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000 + b"\r\n\r\n",
        ]
    )
    end = random.choice(["close", "reset", "hold"])
    return Reply("garbage", in_pieces(random, data), end)


def reply_damaged(random: Random, script: int, call: int) -> Reply:
    """A good answer with some bytes changed, taken out or put in: not those that say whose it is."""
    draft = good(random, script, call)
    data = bytearray(draft.whole(random))
    if IDENT.findall(draft.body) != IDENT.findall(data.partition(b"\r\n\r\n")[2]):
        draft.framing = "length"  # a chunk's end in an id would hide it below
        data = bytearray(draft.whole(random))
    for _ in range(random.randint(1, 4)):
        spared = [match.span() for match in IDENT.finditer(data)]
        at = random.randrange(len(data))
        if any(begin - 1 <= at <= end for begin, end in spared):
            continue
        byte = random.choice([random.randrange(256), ord("\r"), ord("\n"), ord("9"), 0])
        change = random.randrange(3)
        data[at : at + (change != 0)] = b"" if change == 1 else bytes([byte])
    return Reply(
        "damaged", in_pieces(random, bytes(data)), random.choice(["close", "keep", "hold"])
    )


def reply_nothing(random: Random, script: int, call: int) -> Reply:
    end = random.choice(["close", "close", "reset", "reset", "hold"])
    return Reply("nothing", [(pause(random), b"")], end)


KINDS = {
    reply_good: 40,
    reply_extra: 6,
    reply_cut: 12,
    reply_status: 16,
    reply_framing: 9,
    reply_body: 5,
    reply_garbage: 4,
    reply_damaged: 8,
    reply_nothing: 6,
}


def draw(random: Random, script: int, call: int) -> Reply:
    """What a request gets."""
    kind = random.choices(list(KINDS), list(KINDS.values()))[0]
    return kind(random, script, call)


# ---- The kinds of replies over HTTP/2 -----------------------------------------------------------

CODES = [
    *(h2.NO_ERROR, h2.PROTOCOL_ERROR, h2.INTERNAL_ERROR, h2.REFUSED_STREAM, h2.CANCEL),
    *(h2.ENHANCE_YOUR_CALM, h2.HTTP_1_1_REQUIRED, 99),
]


def units_of(random: Random, draft: Draft, stream: int) -> list[bytes]:
    """A draft as frames; a header block, in how many frames it may be, is one unit."""
    fields = [(name, value) for name, _, value in (line.partition(": ") for line in draft.lines)]
    if draft.framing == "length":
        fields.append(("content-length", str(len(draft.body))))
    status = (":status", draft.status.split()[1])
    ends = not draft.body and random.random() < 0.5
    units = [header_block(random, stream, [status, *fields], ends=ends)]
    if random.random() < 0.15:
        units.insert(0, header_block(random, stream, [(":status", "103"), ("link", "</x>")]))
    return units if ends else units + data_frames(random, stream, draft.body)


def header_block(random: Random, stream: int, fields: h2.Fields, *, ends: bool = False) -> bytes:
    data = h2.block(fields)
    count = random.choice([0, 0, 0, 1, 2, 5])
    places = sorted(random.randint(0, len(data)) for _ in range(count))
    parts = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    result = b""
    for at, part in enumerate(parts):
        kind, flags = (h2.CONTINUATION, 0) if at else (h2.HEADERS, h2.END_STREAM * ends)
        result += frame(kind, flags | (h2.END_HEADERS if at == count else 0), stream, part)
    return result


def data_frames(random: Random, stream: int, body: bytes) -> list[bytes]:
    """A body, whose end a header block of trailers may be."""
    units, size = [], random.choice([10_000, 1000, len(body) // 3 + 1])
    for at in range(0, len(body), size):
        part, flags = body[at : at + size], 0
        if random.random() < 0.1:
            filler = random.randrange(100)
            part, flags = bytes([filler]) + part + bytes(filler), h2.PADDED
        units.append(frame(h2.DATA, flags, stream, part))
    if random.random() < 0.1:
        return [*units, header_block(random, stream, [("x-trailer", "1")], ends=True)]
    return [*units, frame(h2.DATA, h2.END_STREAM, stream)]


def farewell(random: Random, stream: int) -> bytes:
    """RST_STREAM or GOAWAY."""
    code = struct.pack(">I", random.choice(CODES))
    if random.random() < 0.5:
        return frame(h2.RST_STREAM, 0, stream, code)
    last = random.choice([0, max(stream - 2, 0), stream, stream, (1 << 31) - 1])
    return frame(h2.GOAWAY, 0, 0, struct.pack(">I", last) + code + b"words")


def of_units(random: Random, kind: str, units: list[bytes], end: str = "keep") -> Reply:
    """Frame by frame, between those of others, or cut anywhere, and then nothing between."""
    if random.random() < 0.7:
        return Reply(kind, [(pause(random), unit) for unit in units], end)
    return Reply(kind, in_pieces(random, b"".join(units)), end, whole=True)


def streamed_good(random: Random, script: int, call: int, stream: int) -> Reply:
    units = units_of(random, good(random, script, call), stream)
    if random.random() < 0.2:
        units.append(farewell(random, stream))
    end = random.choice(["keep"] * 5 + ["close", "reset"])
    return of_units(random, "good", units, end)


def streamed_extra(random: Random, script: int, call: int, stream: int) -> Reply:
    """A good answer and another one behind it, on the same stream or on one of the server's own."""
    units = units_of(random, good(random, script, call), stream)
    stray = Draft("HTTP/1.1 200 OK", json.dumps(result_of(script, 999999)).encode())
    units += units_of(random, stray, random.choice([stream, stream, 2]))
    return of_units(random, "extra", units[: random.randint(2, len(units))])


def streamed_cut(random: Random, script: int, call: int, stream: int) -> Reply:
    """The first frames of an answer, of which the last may be a part; or none."""
    units = units_of(random, good(random, script, call), stream)
    units = units[: random.choice([0, random.randrange(len(units))])]
    fault = random.randrange(4)
    if fault == 0:
        return of_units(random, "silent", units)
    if fault == 1:
        begun = frame(h2.DATA, 0, stream, bytes(100))
        units.append(begun[: random.randint(1, len(begun) - 1)])
        return replace(of_units(random, "stalled", units, "hold"), whole=True)
    if fault == 2:
        return of_units(random, "cut", units, random.choice(["close", "reset"]))
    units.append(farewell(random, stream))
    return of_units(random, "farewell", units, random.choice(["keep", "keep", "close"]))


def streamed_status(random: Random, script: int, call: int, stream: int) -> Reply:
    return of_units(random, "status", units_of(random, draft_status(random, script, call), stream))


def streamed_body(random: Random, script: int, call: int, stream: int) -> Reply:
    return of_units(random, "body", units_of(random, draft_body(random, script, call), stream))


def streamed_odd(random: Random, script: int, call: int, stream: int) -> Reply:
    """A good answer with something in it that should not be, or that need not be."""
    units = units_of(random, good(random, script, call), stream)
    promise = b"\0\0\0\2" + h2.block([(":method", "GET"), (":path", "/")])
    odd = random.choice(
        [
            frame(h2.DATA, 0, stream),
            frame(h2.DATA, 0, 0, b"x"),
            frame(h2.DATA, 0, stream, b" " * 20_000),
            frame(h2.DATA, h2.PADDED, stream, b"\xff"),
            frame(h2.PUSH_PROMISE, h2.END_HEADERS, stream, promise),
            frame(h2.WINDOW_UPDATE, 0, random.choice([0, stream]), bytes(4)),
            frame(h2.WINDOW_UPDATE, 0, random.choice([0, stream]), b"\x7f\xff\xff\xff"),
            frame(h2.SETTINGS, 0, 0, b"abc"),
            h2.settings({h2.MAX_CONCURRENT_STREAMS: random.randint(1, 3)}),
            h2.settings({h2.INITIAL_WINDOW_SIZE: random.choice([0, 100_000, 1 << 31])}),
            frame(h2.CONTINUATION, h2.END_HEADERS, stream),
            frame(h2.HEADERS, h2.END_HEADERS, stream, random.randbytes(20)),
            frame(h2.HEADERS, h2.END_HEADERS, stream, h2.block([("X-Big", "a\0b")])),
            frame(h2.HEADERS, h2.END_HEADERS, stream, h2.block([("connection", "close")])),
            frame(h2.RST_STREAM, 0, 0, bytes(4)),
            frame(h2.PRIORITY, 0, stream, bytes(5)),
            frame(h2.PING, 0, 0, b"12345678"),
            frame(h2.PING, 0, 0, b"1"),
            frame(77, 255, stream, b"what is this"),
            random.randbytes(50),
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ]
    )
    units.insert(random.randint(0, len(units)), odd)
    return of_units(random, "odd", units, random.choice(["keep", "keep", "close"]))


def streamed_damaged(random: Random, script: int, call: int, stream: int) -> Reply:
    """Some bytes of the frames are changed, but not those that say whose they are."""
    data = bytearray(b"".join(units_of(random, good(random, script, call), stream)))
    spared = {at for found in IDENT.finditer(data) for at in range(*found.span())}
    at = 0
    while at < len(data):
        spared.update(range(at + 5, at + 9))
        at += 9 + int.from_bytes(data[at : at + 3], "big")
    for at in {random.randrange(len(data)) for _ in range(random.randint(1, 3))} - spared:
        data[at] = random.randrange(256)
    return replace(of_units(random, "damaged", [bytes(data)]), whole=True)


STREAMED = {
    streamed_good: 40,
    streamed_extra: 5,
    streamed_cut: 18,
    streamed_status: 16,
    streamed_body: 5,
    streamed_odd: 10,
    streamed_damaged: 6,
}


def draw_streamed(random: Random, script: int, call: int, stream: int) -> Reply:
    """What a request of HTTP/2 gets."""
    kind = random.choices(list(STREAMED), list(STREAMED.values()))[0]
    return kind(random, script, call, stream)


# ---- Connections --------------------------------------------------------------------------------


@dataclass
class Play:
    """One script: what it has seen and whether it still misbehaves."""

    seed: int
    number: int
    contexts: random_tls.Contexts
    calm: bool = False
    connections: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    done: list[str] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.speaks = self.random("layer").choice(["plain"] * 3 + ["http1", "http2"])

    def random(self, *what: object) -> Random:
        return Random(f"{self.seed} {self.number} {what}")

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class Manner:
    """What a connection does besides answering."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.first = random.choices(["", "reset", "close", "talk"], [85, 5, 5, 5])[0]
        self.slow = random.random() < 0.15  # reads little at a time
        self.early = random.random() < 0.05  # answers before the body has come
        self.requests = random.choice([1, 2, 100, 100, 100])  # then it closes after the answer


class Connection:
    """One connection of a script."""

    def __init__(
        self, play: Play, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.play = play
        self.reader: asyncio.StreamReader | Tls = reader
        self.writer: asyncio.StreamWriter | Tls = writer
        play.connections += 1
        self.name = play.connections
        self.manner = Manner(play.random("connection", self.name))
        self.ahead = b""
        self.hold = self.until_request

    def note(self, *words: object) -> None:
        self.play.done.append(f"connection {self.name}: " + " ".join(map(str, words)))

    async def serve(self) -> None:
        """Play until one of the two sides ends it."""
        try:
            if not self.play.calm and self.manner.first:
                await self.begin_badly()
            speaks = "plain" if self.play.speaks == "plain" else await self.secure()
            count = 0
            while speaks != "http2":
                await self.answer()
                count += 1
                if count >= self.manner.requests and not self.play.calm:
                    self.note("close, idle")
                    return
            await Streams(self).serve()
        except (Gone, ConnectionError, TimeoutError, ssl.SSLError):
            pass
        finally:
            self.writer.close()

    async def secure(self) -> str:
        """Put TLS in place of TCP; what is spoken over it."""
        random = self.play.random("tls", self.name)
        speaks = "http1" if random.random() < 0.05 else self.play.speaks
        tls = Tls(self, random, self.play.contexts, speaks)
        await tls.shake()
        self.reader = self.writer = tls
        return speaks

    async def begin_badly(self) -> None:
        self.note(self.manner.first, "at once")
        if self.manner.first == "talk":
            await self.send(
                [(0.0, self.manner.random.choice([b"hello\r\n", b"HTTP/1.1 408 No\r\n"]))]
            )
            return
        await self.finish(self.manner.first)

    async def answer(self) -> None:
        """Read one request and answer it."""
        script, call, attempt = await self.request()
        play = self.play
        play.requests[f"{script}:{call}"] += 1
        if play.calm:
            draft = Draft("HTTP/1.1 200 OK", json.dumps(result_of(script, call)).encode())
            reply = Reply("calm", [(0.0, draft.whole(self.manner.random))])
        else:
            reply = draw(play.random(call, attempt), script, call)
        self.note(f"call {call} attempt {attempt}: {reply.kind}, {reply.end}")
        await self.send(reply.pieces)
        await self.finish(reply.end)

    async def request(self) -> tuple[int, int, int]:
        """The script, call and attempt of the next request."""
        while b"\r\n\r\n" not in self.ahead:
            await self.more()
        head, _, self.ahead = self.ahead.partition(b"\r\n\r\n")
        size = int(_header(head, b"content-length"))
        early = self.manner.early and not self.play.calm
        # The id stands in the body's first bytes.
        while len(self.ahead) < (min(size, 200) if early else size):
            await self.more()
        found = re.search(rb"<(\d+):(\d+)>", self.ahead[:size])
        assert found, self.ahead[:200]
        if early and len(self.ahead) < size:
            self.note("answers before the body has come, and closes")
            self.manner.requests = 0
        self.ahead = self.ahead[size:]
        return int(found[1]), int(found[2]), int(_header(head, b"x-promptlathe-attempt"))

    async def more(self) -> None:
        slow = self.manner.slow and not self.play.calm
        if slow:
            await asyncio.sleep(pause(self.manner.random))
        data = await self.reader.read(2048 if slow else 1 << 18)
        if not data:
            raise Gone
        self.ahead += data

    async def send(self, pieces: list[tuple[float, bytes]]) -> None:
        for delay, data in pieces:
            if delay:
                await asyncio.sleep(delay)
            if self.writer.is_closing():
                raise Gone
            self.writer.write(data)
            await self.writer.drain()

    async def finish(self, end: str) -> None:
        """Do what comes after the pieces."""
        if end == "keep":
            return
        if end == "reset":
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
        if end == "hold":
            await self.hold()
        raise Gone

    async def until_request(self) -> None:
        """Do nothing but see whether the client leaves."""
        while await self.reader.read(1 << 16):
            if self.play.calm:  # this was a request on a connection that seemed fit for it
                break


class Streams:
    """What a connection does over HTTP/2: it answers each request in a task of its own."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.play = connection, connection.play
        connection.hold = self.hold
        self.random = random = self.play.random("streams", connection.name)
        self.mute = random.random() < 0.03  # sends nothing at all
        self.settings = random.choice(
            [
                *[{}] * 4,
                {h2.MAX_CONCURRENT_STREAMS: random.choice([1, 2, 5])},
                {h2.INITIAL_WINDOW_SIZE: random.choice([0, 1000, 1 << 20])},
            ]
        )
        self.window = random.choices(["at once", "late", "never"], [82, 15, 3])[0]
        self.lock = asyncio.Lock()  # held while what is sent is no whole frame
        self.stuck = False
        self.bodies: dict[int, bytes] = {}
        self.answered = 0

    async def serve(self) -> None:
        """Play until one of the two sides ends it."""
        try:
            async with asyncio.TaskGroup() as self.group:
                await self.listen()
        except* (Gone, ConnectionError, ssl.SSLError):
            pass

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        self.group.create_task(work)

    async def listen(self) -> None:
        """Read frames for ever."""
        if self.mute and not self.play.calm:
            self.connection.note("mute")
            self.stuck = True
        else:
            self.later(self.send(h2.settings(self.settings)))
        assert await self.take(len(h2.PREFACE)) == h2.PREFACE
        while True:
            head = await self.take(9)
            kind, flags, stream = struct.unpack(">BBI", head[3:])
            self.heard(kind, flags, stream, await self.take(int.from_bytes(head[:3], "big")))

    async def take(self, size: int) -> bytes:
        connection = self.connection
        while len(connection.ahead) < size:
            await connection.more()
        data, connection.ahead = connection.ahead[:size], connection.ahead[size:]
        return data

    def heard(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """What a frame is followed by."""
        if kind in (h2.SETTINGS, h2.PING) and not flags & h2.ACK and not self.stuck:
            echo = payload if kind == h2.PING else b""
            self.later(self.send(frame(kind, h2.ACK, 0, echo)))
        if kind == h2.HEADERS:
            self.bodies[stream] = b""
            if self.play.calm:  # whatever was withheld before
                self.later(self.grant(stream, 1 << 20))
        if kind == h2.DATA and payload:
            self.later(self.grant(stream, len(payload)))
        if kind == h2.DATA and stream in self.bodies:
            body = self.bodies[stream] = self.bodies[stream] + payload
            early = self.connection.manner.early and not self.play.calm and len(body) >= 200
            if early or flags & h2.END_STREAM:
                self.requested(stream, self.bodies.pop(stream))

    async def grant(self, stream: int, size: int) -> None:
        """Let the client send more."""
        if not self.play.calm and self.window == "never":
            return
        if not self.play.calm and self.window == "late":
            await asyncio.sleep(pause(self.random))
        if not self.stuck:
            update = struct.pack(">I", size)
            frames = [frame(h2.WINDOW_UPDATE, 0, each, update) for each in (0, stream)]
            await self.send(b"".join(frames))

    def requested(self, stream: int, body: bytes) -> None:
        """Count a request, and have it answered."""
        found = re.search(rb"<(\d+):(\d+)>", body)
        assert found, body[:200]
        script, call = int(found[1]), int(found[2])
        play, ident = self.play, f"{script}:{call}"
        play.requests[ident] += 1
        attempt = play.requests[ident]
        if not play.calm:
            reply = draw_streamed(play.random(call, attempt), script, call, stream)
        elif self.stuck:
            raise Gone
        else:
            draft = Draft("HTTP/1.1 200 OK", json.dumps(result_of(script, call)).encode())
            reply = Reply("calm", [(0.0, b"".join(units_of(self.random, draft, stream)))])
        self.connection.note(
            f"stream {stream}, call {call} attempt {attempt}: {reply.kind}, {reply.end}"
        )
        self.later(self.reply(reply))

    async def reply(self, reply: Reply) -> None:
        if reply.whole:
            async with self.lock:
                await self.connection.send(reply.pieces)
                await self.connection.finish(reply.end)
        else:
            for piece in reply.pieces:
                async with self.lock:
                    await self.connection.send([piece])
            await self.connection.finish(reply.end)
        self.answered += 1
        if self.answered >= self.connection.manner.requests and not self.play.calm:
            self.connection.note("close, idle")
            raise Gone

    async def hold(self) -> None:
        """Send nothing any more; what comes is read elsewhere."""
        self.stuck = True
        await asyncio.Event().wait()  # ends with the connection

    async def send(self, data: bytes) -> None:
        async with self.lock:
            await self.connection.send([(0.0, data)])


def _header(head: bytes, name: bytes) -> bytes:
    found = re.search(rb"(?i)\r\n%s: *([^\r]*)" % name, head)
    assert found, head
    return found[1]


# ---- Scripts ------------------------------------------------------------------------------------


plays: set[int] = set()
held_up: dict[int, float] = {}  # by script, in seconds


async def watch_time() -> None:
    """Note by how much this loop is late: a busy machine, not the client, holds it up."""
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        await asyncio.sleep(0.2)
        late = loop.time() - began - 0.2
        for number in plays:
            held_up[number] = max(held_up.get(number, 0.0), late)


class Control:
    """The control connection of one script."""

    def __init__(
        self,
        seed: int,
        contexts: random_tls.Contexts,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.seed, self.contexts, self.reader, self.writer = seed, contexts, reader, writer

    async def serve(self) -> None:
        """Open the script's port, and end with it."""
        opening = (await self.reader.readline()).split()
        if not opening:
            return
        play = Play(self.seed, int(opening[1]), self.contexts)
        plays.add(play.number)
        listener = _listener(play)
        play.begin(self.accept(play, listener))
        scheme = "http" if play.speaks == "plain" else "https"
        self.say(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}")
        try:
            await self.listen(play)
        finally:
            plays.discard(play.number)
            for task in play.tasks:
                task.cancel()
            self.writer.close()

    async def listen(self, play: Play) -> None:
        while (word := await self.word()) != b"end":
            if not word:
                print(f"seed {self.seed}, script {play.number}: never ended", file=sys.stderr)
                return
            play.calm = True
            self.say("ok")
        late = held_up.pop(play.number, 0.0)
        self.say(json.dumps({"requests": play.requests, "done": play.done, "held_up": late}))

    async def word(self) -> bytes:
        try:
            return (await self.reader.readline()).strip()
        except ConnectionError:
            return b""

    async def accept(self, play: Play, listener: socket.socket) -> None:
        """Take connections until cancelled: asyncio's own server, in 3.13.0, may fail as it closes."""
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                sock, _ = await loop.sock_accept(listener)
                play.begin(_patiently(Connection(play, *await asyncio.open_connection(sock=sock))))

    def say(self, what: object) -> None:
        self.writer.write(f"{what}\n".encode())


async def _patiently(connection: Connection) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            await connection.serve()
    except TimeoutError:
        connection.note("out of patience")


def _listener(play: Play) -> socket.socket:
    """A socket of the script's own; some have room for little, so that requests do not fit in."""
    sock = socket.socket()
    if play.random("listener").random() < 0.3:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.bind(("127.0.0.1", 0))
    sock.listen(100)
    sock.setblocking(False)
    return sock


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tell what asyncio tells, but not that a client has broken off what is left here as well."""
    if not isinstance(context.get("exception"), ConnectionError):
        loop.default_exception_handler(context)


async def serve(seed: int, folder: Path) -> None:
    """Serve until standard input ends, that is until the parent does."""
    contexts = random_tls.contexts(Authority(folder, "Trusted for a test"))
    asyncio.get_running_loop().set_exception_handler(_report)

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Control(seed, contexts, reader, writer).serve()

    server = await asyncio.start_server(control, "127.0.0.1", 0, backlog=100)
    watching = asyncio.create_task(watch_time())
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await asyncio.sleep(0.1)  # control connections that broke off are told of
    watching.cancel()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
