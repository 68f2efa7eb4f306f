"""What the commands share: options, outcomes, warnings, progress. Imports neither torch nor rich."""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rcproof.errors import RcproofError, printable

if TYPE_CHECKING:
    from rich.console import Console

    from rcproof.checkpoints.imported import ReadOptions

F = TypeVar("F", bound=Callable[..., Any])

#: Columns of the tables where standard output is no terminal.
WIDTH = 140

#: No input of more numbers than this is drawn: a file's own shapes are only believed so far.
LARGEST_INPUT = 1 << 26


@dataclass
class Outcome:
    """What a command found: for JSON, for people, and the exit code."""

    data: dict[str, Any]
    show: Callable[[Console], None]
    code: int = 0


@dataclass(frozen=True)
class SourceOptions:
    """How to build a network from SOURCE, and how it is to be made conjoined."""

    model: str | None = None
    model_args: str | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    merge: tuple[str, ...] = ()
    final: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    leaves: tuple[str, ...] = ()
    architecture: str | None = None
    lambdas: tuple[str, ...] = ()
    allow_pickle: bool = False
    arch: str | None = None

    @property
    def given(self) -> list[str]:
        """The options, as written, that say how a network is made conjoined."""
        each = {"--input": self.inputs, "--output": self.outputs, "--merge": self.merge, "--final": self.final}
        return [name for name, value in each.items() if value]

    def reading(self) -> ReadOptions:
        """The options that say how SOURCE is read."""
        from rcproof.checkpoints.imported import ReadOptions

        if self.model is not None and self.arch is not None:
            raise RcproofError("--model and --arch", got="both", expected="one: code of yours, or a preset")
        lambdas = {}
        for item in self.lambdas:
            name, separator, what = item.partition("=")
            if not separator or not name or not what:
                raise RcproofError("--lambda", got=repr(item), expected="NAME=WHAT, for example lambda_1=rc")
            lambdas[name] = what
        return ReadOptions(self.architecture, lambdas, self.allow_pickle, self.arch, self.model, self.arguments())

    def arguments(self) -> dict[str, Any]:
        """``--model-args`` as a dictionary."""
        if self.model_args is None:
            return {}
        if self.model is None and self.arch is None:
            raise RcproofError("--model-args without --model", fix="name the code that takes them")
        try:
            found = json.loads(self.model_args)
        except ValueError as error:
            raise RcproofError("--model-args is no JSON", got=str(error)) from None
        if not isinstance(found, dict):
            raise RcproofError("--model-args", got=type(found).__name__, expected='a JSON object, as {"filters": 64}')
        return found


class ShapeType(click.ParamType):
    """``4,1000`` as (4, 1000): the shape of one input without the batch."""

    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            shape = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            shape = ()
        if not 1 <= len(shape) <= 2 or min(shape) < 1:
            self.fail(f"{value!r} is no shape: C,L (4,1000) or one number, without the batch.", param, ctx)
        check_size(shape)
        return shape


def check_size(shape: tuple[int, ...]) -> None:
    """An error for a shape that would take too much memory."""
    numbers = 1
    for n in shape:
        numbers *= n
    if numbers > LARGEST_INPUT:
        raise RcproofError(f"an input of shape {shape} is too large", expected=f"at most {LARGEST_INPUT} numbers")


def reading_options(function: F) -> F:
    """Decorate a command with the options that say how a file is read."""
    options = [
        click.option("--model", metavar="MODULE:CALLABLE", help="Code that builds a state dict's network; it is run."),
        click.option("--model-args", metavar="JSON", help="Arguments of --model or --arch by name, as a JSON object."),
        click.option("--arch", metavar="NAME", help="A preset for a network that people have: bpnet-lite, chrombpnet, "
                     "factornet, deepsea, explainn."),
        click.option("--architecture", metavar="FILE", help="The JSON configuration of a Keras network whose weights "
                     "lie alone in SOURCE."),
        click.option("--lambda", "lambdas", multiple=True, metavar="NAME=WHAT", help="What a Lambda layer of a Keras "
                     "network does, since its code is never run: rc, flip-length, flip-channels, crop:L,R, "
                     "slice:START,STOP, identity."),
        click.option("--allow-pickle", is_flag=True, help="Unpickle a whole module. Unpickling runs whatever code the "
                     "file names, with your rights: only for files from people you trust with your account."),
    ]  # fmt: skip
    return decorated(function, options)


def decorated(function: F, options: Sequence[Callable[[Any], Any]]) -> F:
    """A command with options, in the order in which they are listed."""
    for option in reversed(options):
        function = option(function)
    return function


def source_options(wrapping: bool) -> Callable[[F], F]:
    """The options that say what SOURCE is; with ``wrapping`` also those that conjoin it."""
    what = "Representation of an input: how the reverse complement acts on it. Repeat for each, in order."
    options = [
        click.option("--input", "inputs", multiple=True, metavar="REP", help=f"{what} reversal (default), length, "
                     "fixed, pairs:T, perm:3,2,1,0, dna:TGCA, tokens:3,2,1,0,4."),
        click.option("--output", "outputs", multiple=True, metavar="REP", help="The same for an output. Default for "
                     "(N, C): fixed; a profile (N, C, L) has none."),
    ]  # fmt: skip
    if wrapping:
        options += [
            click.option("--merge", multiple=True, type=click.Choice(["mean", "sum", "max"]), help="How the strands "
                         "are merged; one for all outputs or one each. Default: mean."),
            click.option("--final", multiple=True, metavar="NAME", help="What follows the merge: sigmoid, tanh, relu, "
                         "softplus, softmax, log_softmax, none; one for all outputs or one each."),
        ]  # fmt: skip
    options += [
        click.option("--shape", "shapes", multiple=True, type=ShapeType(), metavar="C,L", help="Shape of an input "
                     "without the batch. Repeat for each. Default: found by trial."),
        click.option("--leaf", "leaves", multiple=True, metavar="NAME", help="A submodule, or its class, that tracing "
                     "leaves whole; it is then lifted."),
    ]  # fmt: skip

    return lambda function: reading_options(decorated(function, options))


def collect(values: dict[str, Any]) -> SourceOptions:
    """Take the source options out of a command's arguments."""
    names = SourceOptions.__dataclass_fields__
    return SourceOptions(**{name: values.pop(name) for name in list(values) if name in names})


class Command(click.Command):
    """A command whose body returns an :class:`Outcome`; prints it, and exits with its code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(["--json", "as_json"], is_flag=True, help="One JSON object on standard output.")
        )

    def invoke(self, ctx: click.Context) -> Any:
        as_json = ctx.params.pop("as_json")
        with quiet() as noted:
            outcome = super().invoke(ctx)
        assert isinstance(outcome, Outcome)
        if as_json:
            click.echo(json.dumps({**outcome.data, "warnings": noted}, indent=1, ensure_ascii=False, allow_nan=False))
        else:
            outcome.show(console())
            for line in noted:
                click.echo(f"warning: {line}", err=True)
        ctx.exit(outcome.code)


@contextlib.contextmanager
def quiet() -> Iterator[list[str]]:
    """Keeps standard output for the result: a user's code prints to standard error instead; warnings are collected."""
    noted: list[str] = []
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(_Errors()):
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", category=UserWarning)
        yield noted
    noted += dict.fromkeys(printable(" ".join(str(w.message).split())) for w in caught)


class _Errors(io.TextIOBase):
    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def console() -> Console:
    """Standard output for tables: as wide as the terminal, and wide where there is none."""
    from rich.console import Console

    found = Console()
    return found if found.is_terminal else Console(width=WIDTH)


@dataclass
class Steps:
    """Named steps of a long command, shown on a terminal while they run."""

    total: int
    names: list[str] = field(default_factory=list)
    _show: Callable[[str], None] = lambda name: None

    def __call__(self, name: str) -> None:
        self.names.append(name)
        self._show(name)


@contextlib.contextmanager
def progress(total: int) -> Iterator[Steps]:
    """A bar on standard error if that is a terminal; else nothing."""
    steps = Steps(total)
    if not sys.stderr.isatty():
        yield steps
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("", total=total)
        steps._show = lambda name: bar.update(task, description=name, completed=len(steps.names) - 1)
        yield steps


def json_safe(value: Any) -> Any:
    """``value`` with tuples as lists, and floats that JSON lacks as their names."""
    if isinstance(value, Mapping):
        return {str(k): json_safe(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
