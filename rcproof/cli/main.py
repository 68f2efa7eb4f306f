"""``rcproof``: commands that are imported when they are used, and errors in one line."""

from __future__ import annotations

import errno
import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from rcproof import __version__
from rcproof.errors import RcproofError, VerificationError, printable

COMMANDS = ("convert", "export", "check", "verify", "audit", "inspect", "prove", "experiment")

#: What Python calls an option, where an error advises it.
OPTION_OF = {"leaves=[…]": "--leaf", "outputs=…": "--output", "inputs=…": "--input"}

#: Exit codes: all held, a check failed, the input cannot be used, stopped by the user.
OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for, and turns every error into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"rcproof.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(words, prog_name or "rcproof", complete_var, standalone_mode=False, **extra)
        except (click.Abort, KeyboardInterrupt):
            code = report_error("interrupted", "Interrupted", INTERRUPTED, words)
        except click.ClickException as error:
            code = report_error(usage(error), "UsageError", BAD_INPUT, words)
        except RcproofError as error:
            failed = isinstance(error, VerificationError)
            code = report_error(str(error), type(error).__name__, FAILED if failed else BAD_INPUT, words)
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:  # `rcproof … | head`
                sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (nothing is left to write to)
                sys.exit(FAILED)
            if os.environ.get("RCPROOF_TRACEBACK"):
                raise
            text = f"{type(error).__name__}: {error} (set RCPROOF_TRACEBACK=1 to see where)"
            code = report_error(text, type(error).__name__, BAD_INPUT, words)
        code = code if isinstance(code, int) else OK
        if standalone_mode:
            sys.exit(code)
        return code


def usage(error: click.ClickException) -> str:
    """A mistake on the command line, with the help that would have prevented it."""
    text = error.format_message()
    context = getattr(error, "ctx", None)
    return text if context is None else f"{text} Try '{context.command_path} --help'."


def report_error(text: str, kind: str, code: int, words: Sequence[str]) -> int:
    """One line on standard error; with ``--json`` also one object on standard output."""
    for name, option in OPTION_OF.items():
        text = text.replace(name, option)
    line = printable(" ".join(text.split()))
    if "--json" in words:
        click.echo(json.dumps({"error": line, "kind": kind, "exit_code": code}, ensure_ascii=False))
    click.echo(f"error: {line}", err=True)
    return code


@click.command("rcproof", cls=LazyGroup, invoke_without_command=True)
@click.version_option(__version__, prog_name="rcproof", message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """From a trained conjoined network to RCPS weights of the same function, checked.

    Exit code: 0 if every check held; 1 if one did not; 2, and one line, if the input cannot be used. On failure
    nothing is written.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(BAD_INPUT)
