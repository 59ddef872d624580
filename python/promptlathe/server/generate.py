"""The simulated generator: a structured prompt from the description of a task."""

from __future__ import annotations

import re
from typing import Any

from promptlathe.server.topics import Topic, topic_of
from promptlathe.server.variables import find, numbered, section, tag

_ROLE = re.compile(r"(?:an?|the)\s+\S", re.IGNORECASE)
_ADDRESS = re.compile(r"you\s+are\s+\S", re.IGNORECASE)
_INLINE = 400  # characters; a longer task gets a section of its own


def generate(task: str) -> dict[str, Any]:
    """Make a prompt: who answers, what is given, how to go about it, what comes out.

    Parameters
    ----------
    task
        What the prompt is for, in any language. Variables in it are kept and used.

    Returns
    -------
    dict
        `messages` (one user message and a prefill) and `system` ("").
    """
    topic = topic_of(task)
    names = find([task]) or list(topic.variables)
    parts = [_opening(task), _inputs(names), _steps(topic), _output(topic)]
    return {
        "messages": [
            _message("user", "\n\n".join(parts)),
            _message("assistant", f"<{topic.prefill}>"),
        ],
        "system": "",
    }


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def _opening(task: str) -> str:
    text = task.strip()
    if not text:
        return "You are a careful assistant. The task follows from what you are given below."
    if len(text) > _INLINE or "\n" in text:
        return "Your task is described here:\n\n" + section("task", text)
    if _ADDRESS.match(text):
        return _ended(text)
    if _ROLE.match(text):
        return _ended(f"You are {text}")
    return _ended(f"Your task: {text}")


def _ended(text: str) -> str:
    if text[-1] in ".!?。！？…":
        return text
    return text + ("。" if "\u2e80" <= text[-1] <= "\u9fff" else ".")


def _inputs(names: list[str]) -> str:
    sections = [section(tag(name), f"{{{{{name}}}}}") for name in names]
    return "Here is what you are given:\n\n" + "\n\n".join(sections)


def _steps(topic: Topic) -> str:
    first = "Read everything you are given before you begin."
    last = "If something that you need is missing, say what it is instead of guessing."
    return "Follow these instructions:\n\n" + numbered([first, *topic.steps, last])


def _output(topic: Topic) -> str:
    return (
        f"First think it through inside <{topic.prefill}> tags. "
        f"Then give the result inside <{topic.result}> tags, and nothing after them."
    )
