"""``promptlathe demo``: all of it at work, against the simulated service."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from typing import TYPE_CHECKING, Any

from . import outputs
from .failures import fault_line

if TYPE_CHECKING:
    from promptlathe import Client
    from promptlathe.mock import Server

_TASK = "a chef for a meal prep planning service"
_PROMPT = "Concise recipe for {{food}}"
_SYSTEM = "You are a professional meal prep chef"
_FEEDBACK = "Make the recipes shorter"
_EXAMPLE = "Translate hello to German"
_BROKEN = "\n\nHuman: Bonjour, Claude \nAssistant:"
_LEGACY = f"{_SYSTEM}\n\nHuman: Concise recipe for mandu\n\nAssistant: "
_FAULTY = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "image", "source": {}}]},
]


def run() -> None:
    """Show each step on standard output as it happens."""
    import promptlathe
    from promptlathe.mock import Server

    with Server() as server, promptlathe.Client("demo-key", base_url=server.url) as client:
        demo = _Demo(server, client)
        demo.introduce()
        demo.generate()
        demo.improve()
        demo.templatize()
        demo.legacy()
        demo.faults()
        demo.conclude()


class _Demo:
    """The steps, and what they have in common."""

    def __init__(self, server: Server, client: Client) -> None:
        self._server = server
        self._client = client
        self._style = outputs.style_for(None)
        self._steps = 0

    def introduce(self) -> None:
        self._say(
            self._style.paint("1", "promptlathe demo"),
            f"The service at {self._server.url} is simulated: it runs in this process,",
            "follows the documented rules, and asks no model. The client, the C core and the",
            "HTTP are real.",
        )

    def generate(self) -> None:
        self._step("generate: a task becomes a prompt")
        self._call("generate", task=_TASK)

    def improve(self) -> None:
        self._step("improve: a prompt becomes a better one; system and {{variables}} are kept")
        self._call("improve", messages=_PROMPT, system=_SYSTEM, feedback=_FEEDBACK)

    def templatize(self) -> None:
        import promptlathe

        self._step("templatize: what is specific becomes variables")
        answer = self._call("templatize", messages=_EXAMPLE)
        losses = promptlathe.check_round_trip(_EXAMPLE, answer)
        exact = "exact: the values give the input back" if not losses else f"lost: {losses}"
        self._say("", f"round trip: {exact}")
        values = answer["variable_values"] | {"TARGET_LANGUAGE": "French"}
        filled = promptlathe.render(answer, values)
        self._say(f"with another language: {filled['messages'][0]['content'][0]['text']}")

    def legacy(self) -> None:
        import promptlathe

        self._step("check, convert: a prompt of the old Text Completions calls moves on")
        self._say(f"check {json.dumps(_BROKEN)}")
        try:
            promptlathe.validate_completion_prompt(_BROKEN)
        except promptlathe.InvalidPromptError as error:
            self._tell(error)
        self._say("", f"check {json.dumps(_LEGACY)}")
        _, changes = promptlathe.sanitize_completion_prompt(_LEGACY)
        self._say(self._good("valid") + ", changed: " + ", ".join(changes), "", "convert")
        converted = promptlathe.convert_completion_prompt(_LEGACY)
        self._say(
            outputs.readable(converted, self._style).rstrip("\n"), "", "improve what it became"
        )
        self._call("improve", **converted)

    def faults(self) -> None:
        import promptlathe

        self._step("when something is wrong")
        seen = len(self._server.requests)
        self._say("messages that break the rules:")
        try:
            self._client.improve(_FAULTY)  # type: ignore[arg-type]
        except promptlathe.InvalidRequestError as error:
            self._tell(error)
        self._say(f"requests sent: {len(self._server.requests) - seen}", "")
        self._say("a service that is busy at first (429, retry-after-ms: 50):")
        self._server.script([{"status": 429, "headers": {"retry-after-ms": "50"}}])
        raw = self._client.with_raw_response.templatize(_EXAMPLE)
        self._say(self._good(f"answered after {raw.attempts} attempts"))

    def conclude(self) -> None:
        self._step("what next")
        command = _command()
        self._say(
            f"{command} mock      keeps the simulated service running for your programs",
            f"{command} --help    the other commands; README.md has a first script",
        )

    # ---- what the steps are made of ----

    def _step(self, title: str) -> None:
        self._steps += 1
        self._say("", "", self._style.paint("1;32", f"{self._steps}. {title}"), "")

    def _call(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Make one call; show what went over the wire, then the answer."""
        raw = getattr(self._client.with_raw_response, verb)(**arguments)
        request = self._server.requests[-1]
        dim = self._style.paint("2", f"{request.body.decode()}")
        self._say(f"-> {request.method} {request.path}", f"   {dim}")
        self._say(f"<- {raw.status}, request id {raw.request_id}, {raw.elapsed * 1000:.1f} ms", "")
        self._say(outputs.readable(raw.data, self._style).rstrip("\n"))
        answer: dict[str, Any] = raw.data
        return answer

    def _tell(self, error: Any) -> None:
        for fault in error.errors:
            self._say(self._style.paint("31", "  " + fault_line(fault)))

    def _good(self, text: str) -> str:
        return self._style.paint("32", text)

    def _say(self, *lines: str) -> None:
        outputs.emit("\n".join(lines) + "\n", None)


def _command() -> str:
    """Return what starts this command here: its name if the PATH has it, else its place."""
    if shutil.which("promptlathe"):
        return "promptlathe"
    if os.path.basename(sys.argv[0]) == "promptlathe":
        return shlex.quote(sys.argv[0])
    return f"{shlex.quote(sys.executable)} -m promptlathe"
