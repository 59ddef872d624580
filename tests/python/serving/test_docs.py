"""What docs/serve.md says, held against the server."""

from __future__ import annotations

import asyncio
import re

from conftest import ROOT
from promptlathe.cli.arguments import parser
from promptlathe.serve.log import entry_of
from promptlathe.serve.record import Record

from .server import GENERATE, Running
from .test_app import call

TEXT = (ROOT / "docs/serve.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_every_option_is_there() -> None:
    (commands,) = (
        action.choices for action in parser()._actions if isinstance(action.choices, dict)
    )
    options = {name for action in commands["serve"]._actions for name in action.option_strings}
    told = set(re.findall(r"`(--[a-z-]+)", TEXT))
    assert told == options - {"-h", "--help"}


def test_an_application_that_mounts_it() -> None:
    (text,) = (block for block in BLOCKS if "Mount" in block)
    names: dict[str, object] = {}
    exec(text, names)
    assert asyncio.run(call(names["app"], f"/tools{GENERATE}")) == 200


def test_every_member_of_the_log_is_there() -> None:
    record = Record("POST", GENERATE, error="e", fault="f")
    record.note_upstream("id", 1)
    record.note_usage({"input_tokens": 1, "output_tokens": 2})
    for name in ("time", *entry_of(record)):
        assert f"`{name}`" in TEXT, name


def test_every_metric_is_there(simulated: Running) -> None:
    simulated.ask()
    for name in simulated.metrics():
        plain = re.sub(r"(_bucket|_sum|_count|_created)?({.*)?$", "", name)
        assert f"`{plain}`" in TEXT or f"`{plain}_total`" in TEXT, name
