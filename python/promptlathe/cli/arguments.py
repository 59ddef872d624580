"""The command line: its commands and options."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeAlias

    _Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_EPILOG = """\
The key comes from ANTHROPIC_API_KEY (or a token from ANTHROPIC_AUTH_TOKEN), the address from
--base-url or ANTHROPIC_BASE_URL. A key is never taken on the command line, where others see it.

Exit codes: 0 done; 1 internal; 2 usage or configuration; 3 bad input; 4 refused by the service;
5 unreachable; 6 an answer that cannot be used; 130 interrupted.
"""


class _Version(argparse.Action):
    """Prints the version, and asks the library for it only then."""

    def __init__(self, option_strings: list[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and leave")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from promptlathe import __version__

        print(f"promptlathe {__version__}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    root = argparse.ArgumentParser(
        prog="promptlathe",
        description="Generate, improve and templatize prompts over HTTP, and tend legacy ones.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    root.add_argument("--version", action=_Version, dest="version")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_generate(commands)
    _add_improve(commands)
    _add_templatize(commands)
    _add_check(commands)
    _add_convert(commands)
    _add_render(commands)
    _add_diff(commands)
    _add_mock(commands)
    _add_serve(commands)
    return root


def _command(commands: _Commands, name: str, text: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=text, description=text + ".", allow_abbrev=False)


def _add_demo(commands: _Commands) -> None:
    _command(commands, "demo", "show all of it against the simulated service, without a key")


def _add_generate(commands: _Commands) -> None:
    command = _command(commands, "generate", "make a prompt from the description of a task")
    _input(command, "TASK", "the task; JSON is a string or a request's body")
    command.add_argument("--target-model", metavar="NAME", help="the model the prompt is for")
    _output(command)
    _client(command)
    _model(command)


def _add_improve(commands: _Commands) -> None:
    command = _command(commands, "improve", "improve a prompt")
    _input(command, "TEXT", "the prompt; JSON is a list of messages, a request's body or an answer")
    command.add_argument("--feedback", metavar="TEXT", help="what should become better")
    command.add_argument("--system", metavar="TEXT", help="the prompt's system prompt")
    command.add_argument("--target-model", metavar="NAME", help="the model the prompt is for")
    _output(command)
    _client(command)
    _model(command, improves=True)


def _add_templatize(commands: _Commands) -> None:
    command = _command(commands, "templatize", "replace what is specific in a prompt by variables")
    _input(command, "TEXT", "the prompt; JSON is a list of messages, a request's body or an answer")
    command.add_argument("--system", metavar="TEXT", help="the prompt's system prompt")
    _output(command)
    _client(command)
    _model(command)


def _add_check(commands: _Commands) -> None:
    command = _command(commands, "check", "check and sanitize a legacy Text Completions prompt")
    _legacy(command)


def _add_convert(commands: _Commands) -> None:
    command = _command(commands, "convert", "turn a legacy Text Completions prompt into messages")
    _legacy(command)


def _legacy(command: argparse.ArgumentParser) -> None:
    _input(command, "TEXT", 'the prompt; JSON is a string or {"prompt": ...}')
    command.add_argument(
        "--tokens",
        type=_count,
        metavar="N",
        help="how many tokens the sanitized prompt has by your own count; asked for only when it"
        " has 99,999 bytes or more",
    )
    _output(command)


def _add_render(commands: _Commands) -> None:
    command = _command(commands, "render", "put values into the {{VARIABLES}} of a prompt")
    _input(command, "TEXT", "the prompt; JSON is a string, a list of messages or an answer")
    command.add_argument(
        "--values",
        type=_pair,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a variable's value; may be repeated",
    )
    command.add_argument("--values-file", metavar="PATH", help="a JSON object of names and values")
    command.add_argument(
        "--partial", action="store_true", help="leave variables without a value as they are"
    )
    _output(command)


def _add_diff(commands: _Commands) -> None:
    command = _command(commands, "diff", "show what differs between two prompts, word by word")
    for name, text in (("before", "a file; - is standard input"), ("after", "the other file")):
        command.add_argument(name, metavar=name.upper(), help=text)
    command.add_argument(
        "--format",
        choices=("auto", "text", "json"),
        default="auto",
        help="of the files; auto takes names that end in .json for JSON: a string, a list of"
        " messages or an answer (%(default)s)",
    )
    _output(command)


def _add_mock(commands: _Commands) -> None:
    command = _command(commands, "mock", "run the simulated service until interrupted")
    command.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    command.add_argument(
        "--port", type=_port, default=8765, help="port, 0 for any free one (%(default)s)"
    )
    command.add_argument(
        "-q", "--quiet", action="store_true", help="print the address alone, and no requests"
    )


def _add_serve(commands: _Commands) -> None:
    command = _command(commands, "serve", "serve the three endpoints in front of a Messages API")
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", metavar="MODEL", help="the model that answers")
    source.add_argument(
        "--simulated", action="store_true", help="answer from fixed rules, without any model"
    )
    command.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    command.add_argument(
        "--port", type=_port, default=8080, help="port, 0 for any free one (%(default)s)"
    )
    _upstream(command)
    _limits(command)


def _upstream(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("the Messages API")
    group.add_argument("--upstream", metavar="URL", help="where it is; /v1/messages is added")
    group.add_argument(
        "--allow-http", action="store_true", help="also reach it without TLS beyond loopback"
    )
    group.add_argument(
        "--max-tokens",
        type=_positive,
        default=8192,
        metavar="N",
        help="of one answer (%(default)s)",
    )
    group.add_argument(
        "--effort", choices=("fast", "thorough"), default="fast", help="of improve (%(default)s)"
    )
    group.add_argument(
        "--on-variable-change",
        choices=("raise", "keep_original", "warn"),
        default="raise",
        help="when the result of improve has other {{VARIABLES}} (%(default)s)",
    )
    group.add_argument("--instructions", metavar="DIR", help="instead of the built-in ones")


def _limits(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("callers")
    group.add_argument(
        "--api-key-file",
        metavar="FILE",
        help="their keys, one on each line, read again at SIGHUP; the Messages API then gets the key"
        " of the environment instead of each caller's own",
    )
    group.add_argument(
        "--max-body-bytes",
        type=_positive,
        default=8 << 20,
        metavar="N",
        help="of a request; beyond it a 413 (%(default)s)",
    )
    group.add_argument(
        "--timeout",
        type=_seconds,
        default=600.0,
        metavar="SECONDS",
        help="for a whole call; then a 504 (600)",
    )
    group.add_argument(
        "--concurrency",
        type=_positive,
        default=512,
        metavar="N",
        help="calls in flight at once; beyond them a 529 (%(default)s)",
    )
    group.add_argument(
        "--grace",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="for calls in flight at SIGTERM or Ctrl-C (30)",
    )


def _input(command: argparse.ArgumentParser, name: str, text: str) -> None:
    command.add_argument(
        "text", nargs="?", metavar=name, help=f"{text}; absent or -: standard input"
    )
    command.add_argument("-f", "--file", metavar="PATH", help="read the input from a file instead")
    command.add_argument(
        "--format", choices=("text", "json"), default="text", help="of the input (%(default)s)"
    )


def _output(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    command.add_argument(
        "-o", "--output", metavar="FILE", help="write to a file that only you can read"
    )


def _client(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("the service")
    group.add_argument("--base-url", metavar="URL", help="where it is; /v1/... is added")
    group.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="for all of it (600)")
    group.add_argument("--max-retries", type=_count, metavar="N", help="after the first try (2)")
    group.add_argument("--ca-file", metavar="PATH", help="CA certificates to trust instead")
    group.add_argument(
        "--allow-http", action="store_true", help="also send the key without TLS beyond loopback"
    )
    group.add_argument(
        "--beta", action="append", default=[], metavar="NAME", help="a further beta; repeatable"
    )


def _model(command: argparse.ArgumentParser, *, improves: bool = False) -> None:
    group = command.add_argument_group(
        "a model that does the work, in place of the documented endpoint"
    )
    group.add_argument("--model", metavar="NAME", help="its name; it is asked by /v1/messages")
    group.add_argument("--max-tokens", type=_count, metavar="N", help="of one answer (8192)")
    group.add_argument("--instructions", metavar="DIR", help="texts in place of the built-in ones")
    if improves:
        group.add_argument("--effort", choices=("fast", "thorough"), help="one request or four")
        group.add_argument(
            "--on-variable-change",
            choices=("raise", "keep_original", "warn"),
            help="when the result has other {{VARIABLES}} than the prompt (raise)",
        )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (0 < seconds < math.inf):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0")
    return int(text)


def _positive(text: str) -> int:
    count = _count(text)
    if count == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return count


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 0 to 65535")
    return int(text)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
