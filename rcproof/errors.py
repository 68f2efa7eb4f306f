"""Errors a user can act on: what was given, what was expected, what to do."""

from __future__ import annotations

#: What a file or a user's code says is quoted up to so many characters: longer texts lose their middle.
_QUOTED = 240


def printable(text: object) -> str:
    """Text from a file or a user's code without control characters, so that none reaches a terminal.

    >>> printable("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def _quoted(value: object) -> str:
    text = printable(" ".join(str(value).split()))
    return text if len(text) <= _QUOTED else f"{text[: _QUOTED * 2 // 3]} … {text[-_QUOTED // 3 :]}"


class RcproofError(Exception):
    """A mistake in what rcproof was given, told in one line that can be printed, whatever is quoted in it.

    ``problem`` names the thing that is wrong; ``got`` and ``expected`` are shown when they help;
    ``fix`` says what to do. The text of every error is part of the interface and is tested.

    >>> print(RcproofError("merge of the strands", got="'min'", expected="mean, sum or max", fix="choose one of these"))
    merge of the strands: got 'min'; expected mean, sum or max. Choose one of these
    """

    def __init__(
        self,
        problem: str,
        *,
        got: object | None = None,
        expected: object | None = None,
        fix: str | None = None,
    ) -> None:
        text = _quoted(problem)
        if got is not None:
            text += f": got {_quoted(got)}"
        if expected is not None:
            text += f"{';' if got is not None else ':'} expected {_quoted(expected)}"
        if fix:
            advice = " ".join(fix.split())
            text += f". {advice[0].upper()}{advice[1:]}"
        super().__init__(text)
        self.problem = problem
        self.got = got
        self.expected = expected
        self.fix = fix


class RepresentationError(RcproofError):
    """A representation that is no involution, is not known, or does not fit the tensor."""


class ShapeError(RcproofError):
    """A tensor whose rank or size does not fit."""


class TraceError(RcproofError):
    """A network that cannot be traced, or a step that cannot be typed."""


class ConversionError(RcproofError):
    """A conversion that was refused."""


class CheckpointError(RcproofError):
    """A file that is missing, damaged, or not what it claims to be."""


class VerificationError(RcproofError):
    """A check that did not hold."""
