"""The command ``promptlathe``, also ``python -m promptlathe``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv
        The arguments without the program's name; None takes those of the process.

    Returns
    -------
    int
        The exit code: 0; 1 internal; 2 usage or configuration; 3 bad input; 4 refused by the
        service; 5 unreachable; 6 an answer that cannot be used; 130 interrupted.
    """
    try:
        _speak_utf8()
        code = _run(argv)
        _flush()
        return code
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except BrokenPipeError:
        # Whoever read the output has enough, as `head` does.
        _abandon_output()
        return 0
    except OSError as error:
        _abandon_output()
        _say(f"standard output cannot be written: {error.strerror}")
        return 1


def _speak_utf8() -> None:
    """Write UTF-8 whatever the locale; a lone surrogate becomes an escape, as JSON has it too."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="backslashreplace")


def _run(argv: Sequence[str] | None) -> int:
    from .arguments import parser
    from .verbs import COMMANDS

    try:
        args = parser().parse_args(argv)
        COMMANDS[args.command](args)
    except SystemExit as leaving:  # argparse: help, version or usage
        return int(leaving.code or 0)
    except OSError:  # of standard output; those of files are CommandErrors by now
        raise
    except Exception as error:
        return _failed(error)
    return 0


def _failed(error: Exception) -> int:
    from .failures import INTERNAL, explain

    code, lines = explain(error)
    if code == INTERNAL and sys.flags.dev_mode:
        raise error
    _say(*lines)
    return code


def _say(*lines: str) -> None:
    from .outputs import say

    say(*lines)


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _abandon_output() -> None:
    """Drop what is still buffered: Python flushes once more at its end, and must not fail then."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
