"""What each command does."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import inputs, outputs
from .failures import BAD_INPUT, USAGE, CommandError

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

    from promptlathe import Client


_MODEL_OPTIONS = ("max_tokens", "instructions", "effort", "on_variable_change")


def call_service(args: Namespace) -> None:
    """Run generate, improve or templatize, and show the answer.

    Parameters
    ----------
    args
        The parsed command line.
    """
    outputs.require_writable(args.output)
    with _client(args) as client, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        arguments = _arguments(args)
        response = getattr(client.with_raw_response, args.command)(**arguments)
    for line in [f"warning: {warning.message}" for warning in warned]:
        outputs.say(line)
    for note in response.notes or ():
        if note["code"] != "variables_changed" or not warned:
            outputs.say(_note(note))
    if args.command == "templatize":
        _warn_of_losses(arguments, response.data)
    _show(response.data, args)


def _note(note: Mapping[str, str]) -> str:
    """What the library did with a part of a model's answer."""
    return f"note: {f'{name}: ' if (name := note.get('name')) else ''}{note['message']}"


def _client(args: Namespace) -> Client:
    from promptlathe import Client

    names = ("base_url", "timeout", "max_retries", "ca_file", "model", *_MODEL_OPTIONS)
    given = {name: value for name in names if (value := getattr(args, name, None)) is not None}
    if args.model is None and (idle := [name for name in _MODEL_OPTIONS if name in given]):
        option = "--" + idle[0].replace("_", "-")
        raise CommandError(USAGE, f"{option} is of use with --model NAME alone")
    return Client(**given, betas=args.beta, allow_http=args.allow_http)


def _arguments(args: Namespace) -> dict[str, Any]:
    """Return the verb's arguments; an option wins over the same member of a document."""
    arguments = inputs.arguments_of(args.command, _document(args))
    for name in ("system", "feedback", "target_model"):
        if (value := getattr(args, name, None)) is not None:
            arguments[name] = value
    return arguments


def _document(args: Namespace) -> Any:
    text = inputs.read_text(args.text, args.file)
    return inputs.parse_json(text, args.file or "the input") if args.format == "json" else text


def _warn_of_losses(arguments: Mapping[str, Any], answer: dict[str, Any]) -> None:
    """Say on standard error where the template does not give its input back."""
    from promptlathe import InvalidRequestError, check_round_trip

    losses: Sequence[Mapping[str, Any]]
    try:
        losses = check_round_trip(arguments["messages"], answer, system=arguments.get("system"))
    except InvalidRequestError as error:
        losses = error.errors
    for loss in losses:
        place = f"{loss['path']}: {loss['code']}"
        outputs.say(f"warning: the template does not give the input back: {place}")


def _show(result: Any, args: Namespace) -> None:
    if args.json:
        outputs.emit(outputs.document(result), args.output)
    elif isinstance(result, str):
        outputs.emit(outputs.style_for(args.output).safe(result), args.output)
    else:
        answer = {"messages": result} if isinstance(result, list) else result
        style = outputs.style_for(args.output)
        outputs.emit(outputs.readable(answer, style), args.output)


def check(args: Namespace) -> None:
    """Sanitize and check a legacy prompt; the prompt goes out, what was found to standard error.

    Parameters
    ----------
    args
        The parsed command line.
    """
    from promptlathe import sanitize_completion_prompt, validate_completion_prompt

    outputs.require_writable(args.output)
    prompt = _legacy_prompt(args)
    sanitized, changes = sanitize_completion_prompt(prompt)
    if not args.json:
        for change in changes:
            outputs.say(f"changed: {change}")
    validate_completion_prompt(prompt, count_tokens=_counter(args))
    _show({"prompt": sanitized, "changes": changes} if args.json else sanitized, args)


def convert(args: Namespace) -> None:
    """Show a legacy prompt as a system prompt and messages.

    Parameters
    ----------
    args
        The parsed command line.
    """
    from promptlathe import convert_completion_prompt

    outputs.require_writable(args.output)
    _show(convert_completion_prompt(_legacy_prompt(args), count_tokens=_counter(args)), args)


def _legacy_prompt(args: Namespace) -> str:
    prompt = inputs.arguments_of(args.command, _document(args))["prompt"]
    if not isinstance(prompt, str):
        raise CommandError(BAD_INPUT, "prompt: wrong_type: a legacy prompt is a string")
    return prompt


def _counter(args: Namespace) -> Callable[[str], int] | None:
    return None if args.tokens is None else lambda _: args.tokens


def render(args: Namespace) -> None:
    """Show a prompt with values in the place of its variables.

    Parameters
    ----------
    args
        The parsed command line.
    """
    import promptlathe

    outputs.require_writable(args.output)
    values = inputs.read_values(args.values, args.values_file)
    prompt = _prompt(_document(args), "prompt")
    result = promptlathe.render(prompt, values, partial=args.partial)
    if isinstance(result, dict) and not args.json:
        # Beside the prompt that was made, what the answer tells of the former values misleads.
        result = {name: result[name] for name in ("system", "messages") if name in result}
    _show(result, args)


def _prompt(document: Any, name: str) -> Any:
    if isinstance(document, (str, list, dict)):
        return document
    wanted = "a string, a list of messages or an answer"
    raise CommandError(BAD_INPUT, f"{name}: wrong_type: must be {wanted}")


def diff(args: Namespace) -> None:
    """Show what differs between two prompts.

    Parameters
    ----------
    args
        The parsed command line.
    """
    import promptlathe

    outputs.require_writable(args.output)
    if args.before == args.after == "-":
        raise CommandError(USAGE, "standard input can be one of the two: name a file as the other")
    changes = promptlathe.diff(*(_side(path, args.format) for path in (args.before, args.after)))
    if args.json:
        names = ("changed", "added", "removed", "lost", "won", "sizes")
        shown = outputs.document({name: getattr(changes, name) for name in names})
    else:
        style = outputs.style_for(args.output)
        shown = (changes.ansi() if style.colour else style.safe(str(changes))) + "\n"
    outputs.emit(shown, args.output)


def _side(path: str, form: str) -> Any:
    text = inputs.read_text(None, path)
    if form == "text" or (form == "auto" and not path.endswith(".json")):
        return text
    return _prompt(inputs.parse_json(text, path), path)


def mock(args: Namespace) -> None:
    """Serve the simulated service until interrupted.

    Parameters
    ----------
    args
        The parsed command line.
    """
    from promptlathe.mock import serve_forever

    try:
        serve_forever(args.host, args.port, quiet=args.quiet)
    except OSError as error:
        where = f"{args.host}:{args.port}"
        raise CommandError(USAGE, f"cannot listen on {where}: {error.strerror}") from error


def serve(args: Namespace) -> None:
    """Serve the endpoints until SIGTERM or Ctrl-C.

    Parameters
    ----------
    args
        The parsed command line.
    """
    try:
        from promptlathe.serve import run
        from promptlathe.serve.options import Options
    except ImportError as error:  # it says which extra is missing
        raise CommandError(USAGE, str(error)) from error
    options = Options(
        model=args.model,
        simulated=args.simulated,
        upstream=args.upstream,
        allow_http=args.allow_http,
        api_key_file=_path(args.api_key_file),
        max_body_bytes=args.max_body_bytes,
        timeout=args.timeout,
        concurrency=args.concurrency,
        max_tokens=args.max_tokens,
        effort=args.effort,
        on_variable_change=args.on_variable_change,
        instructions=_path(args.instructions),
    )
    try:
        run.serve(options, args.host, args.port, grace=args.grace)
    except OSError as error:
        where = f"{args.host}:{args.port}"
        raise CommandError(USAGE, f"cannot listen on {where}: {error.strerror}") from error


def _path(text: str | None) -> Path | None:
    from pathlib import Path

    return None if text is None else Path(text)


def demo(args: Namespace) -> None:
    """Show everything against the simulated service.

    Parameters
    ----------
    args
        The parsed command line.
    """
    from .demo import run

    run()


COMMANDS: dict[str, Callable[[Namespace], None]] = {
    "demo": demo,
    "generate": call_service,
    "improve": call_service,
    "templatize": call_service,
    "check": check,
    "convert": convert,
    "render": render,
    "diff": diff,
    "mock": mock,
    "serve": serve,
}
