"""Writes the first inputs of the fuzz targets, made from the case files.

usage: seeds.py DIRECTORY: one folder per target is written there.
"""

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CASES = Path(__file__).parents[1] / "cases"
HTTP = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: r1\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Slow\r\nretry-after: 2\r\n",
)
HEAD = (
    b"request-id: r1\r\nretry-after: 1.5\r\nretry-after-ms: 20\r\nX-A: 1\r\nx-a:2\r\n folded\r\n",
    b"Retry-After: Fri, 31 Dec 2027 23:59:59 GMT\r\ndate: Fri, 31 Dec 2027 23:59:00 GMT\r\n",
    b"anthropic-ratelimit-requests-limit: 50\r\nanthropic-ratelimit-requests-remaining: 49\r\n"
    b"anthropic-ratelimit-requests-reset: 2026-11-22T00:00:00Z\r\nx-should-retry: true\r\n",
)
ERROR = (
    b'{"type":"error","error":{"type":"not_found_error","message":"no such thing: hello world"},'
    b'"request_id":"r2"}',
    b'{"error":{"details":{"error_code":"enforced_spend_limit_reached"}}}',
)
ADDRESSES = (
    "https://api.anthropic.com",
    "HTTPS://Gateway.example:8443/a/b///",
    "http://[::1]:99",
    "http://[::1%25eth0]:9",
    "https://ex\u00e4mple.com/a/../b%2fc",
    "http://127.9.9.9/",
    "https://user@example.com/?q#f",
)
PROXIES = ("socks5h://user:hunter2@mine:4", "proxy:3128", "", "https://proxy.example")


def cases(name: str) -> list[dict[str, Any]]:
    return [
        case
        for file in sorted(CASES.glob(f"{name}*.json"))
        for case in json.loads(file.read_text())
    ]


def as_json(value: object) -> bytes:
    """As JSON, in which U+FFFF stands for a lone surrogate."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("\\ud800", "\\uffff").encode()


def as_text(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def messages() -> Iterator[bytes]:
    for case in cases("messages") + cases("faults_messages"):
        yield b"\0\0" + as_json(case["messages"])


def requests() -> Iterator[bytes]:
    for case in cases("messages"):
        yield b"\0\1" + as_json(case["messages"]) + b'\xfe"f"\xfe"s"\xfe"m"'
    controls = "".join(map(chr, range(128)))
    for task, model in ("a chef", "m"), ("\uffff", "x" * 257), ("", ""), (controls, "\u00e9" * 256):
        yield b"\0\0" + as_json(task) + b"\xfe" + as_json(model)


def completion() -> Iterator[bytes]:
    for case in cases("completion_prompts") + cases("faults_completion"):
        yield b"\0\0\0" + as_text(case["prompt"])
    for more in range(16):  # about as long as what needs a tokenizer, with one and without
        for order in b"\0", b"\x40":
            yield order + bytes((11 + more % 4, 160 + more)) + b"\n\nHuman: a\n\nAssistant:"


def templates() -> Iterator[bytes]:
    for case in cases("templates"):
        values = b"\xfe".join(as_text(str(value)) for value in case["values"].values())
        yield b"\0\0" + as_text(case["template"]) + b"\xfe" + values
    for case in cases("renders"):
        yield b"\0\1" + as_json(case["prompt"]) + b"\xfe" + as_json(case["values"])
    for case in cases("round_trips"):
        parts = (case["messages"], case["response"], case["system"])
        yield b"\0\3" + b"\xfe".join(map(as_json, parts))


def answers() -> Iterator[bytes]:
    for verb in b"\0", b"\2":
        for case in cases("round_trips"):
            yield b"\0" + verb + as_json(case["response"])
        for case in cases("renders"):
            yield b"\0" + verb + as_json(case["prompt"])
    for depth in 199, 2048, 2049:
        yield b"\0\0" + b"[" * depth + b"]" * depth


def reader() -> Iterator[bytes]:
    for case in cases("round_trips"):
        yield as_json(case["response"])
        yield json.dumps(case["response"], ensure_ascii=False, indent=1).encode()
    text = (
        'A line of text.\nA "quote", \u0441\u043b\u043e\u0432\u043e, \u8bed\u8a00 \U0001f44b\n' * 9
    )
    for value in text, {"a": text, "b": {"a": [1, -2.5e-3, True, None]}}:
        yield json.dumps(value).encode()
        yield json.dumps(value, ensure_ascii=False).encode()
    for depth in 2047, 2048, 2049:
        yield b"[" * depth + b"]" * depth
        yield b"[" * depth + b"1" + b"]" * depth
        yield b'{"":' * depth + b"{}" + b"}" * depth


def errors() -> Iterator[bytes]:
    sent = b'\xfe{"task":"hello world of prompts"}'
    for case in cases("recorded_requests"):
        fault = {"error": {"type": case.get("type"), "message": case.get("message")}}
        status = case["status"].to_bytes(2, "big")
        yield b"\0" + status + b"\1" + HEAD[0] + b"\xfe" + as_json(fault) + sent
    for body in ERROR:
        for status in b"\x01\x2d", b"\x01\xad", b"\x01\x94":
            yield b"\0" + status + b"\1" + b"location: https://a/\n\xfe" + body + sent


def headers() -> Iterator[bytes]:
    for head in HEAD:
        yield b"\0\x80" + head


def transport() -> Iterator[bytes]:
    body = b'{"messages":[],"system":"","usage":{}}'
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    packed = gzip.compress(body, mtime=0)
    for head in HTTP:
        yield b"\0" + head + b"content-length: %d\r\n\r\n" % len(body) + body
        yield b"\0" + head + b"transfer-encoding: chunked\r\n\r\n" + chunks
        coding = b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
        yield b"\0" + head + coding + packed
    length = b"content-length: %d\r\n" % len(body)
    for lines in length + length, length + b"transfer-encoding: chunked\r\n", b"":
        yield b"\0" + HTTP[0] + lines + b"\r\n" + body
        yield b"\0" + HTTP[0] + lines + b"\r\n" + chunks


def gunzip() -> Iterator[bytes]:
    packed = gzip.compress(b"hello hello hello", mtime=0)
    yield b"\0\1\0\0\0" + packed
    yield b"\0\1\0\0\0" + packed + packed
    for level in range(10):
        yield bytes((0, level, level, 128 + level, level)) + b"hello " * 20


def settings() -> Iterator[bytes]:
    key = "sk-ant-0123456789"
    for url in ADDRESSES:
        for proxy in PROXIES:
            fields = (key, "", url, proxy, "/ca.pem", "-----BEGIN CERTIFICATE-----\n", key + "x")
            yield b"\0\x3d" + b"\xfe".join(field.encode() for field in fields)
    yield b"\0\x3d" + b"\xfe".join((rb"a\\bcdefgh", b"", b"", b"", b"", b"", rb"a\\bcdefgh"))


def model_answer() -> Iterator[bytes]:
    for number, case in enumerate(cases("model_answers")):
        body = case["raw"].encode() if "raw" in case else as_json(case["body"])
        yield bytes((0, number % 3 << 1)) + body
    for number, case in enumerate(cases("tasks")):
        for answer in case["answers"]:
            if isinstance(answer, str):
                yield bytes((0, 1 | number % 16 << 1)) + answer.encode()


def spans() -> Iterator[bytes]:
    for case in cases("spans"):
        prompt = case["prompt"]
        if isinstance(prompt, str):
            prompt = {"messages": [["user", [prompt]]]}
        texts = prompt["messages"][0][1][:3]
        named = (text for span in case["spans"] for text in (span["name"], span["text"]))
        parts = (prompt.get("system", ""), bytes((len(texts) - 1,)).decode() + texts[0])
        yield b"\0\0" + b"\xfe".join(part.encode() for part in (*parts, *texts[1:], *named))


TARGETS = (
    answers,
    completion,
    errors,
    gunzip,
    headers,
    messages,
    model_answer,
    reader,
    requests,
    settings,
    spans,
    templates,
    transport,
)


def main() -> None:
    for target in TARGETS:
        folder = Path(sys.argv[1]) / target.__name__
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(target()):
            (folder / f"{number:03}").write_bytes(seed)


main()
