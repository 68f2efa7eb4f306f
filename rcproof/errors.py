"""Errors a user can act on: what was given, what was expected, what to do."""

from __future__ import annotations


class RcproofError(Exception):
    """A mistake in what rcproof was given, told in one line.

    ``problem`` names the thing that is wrong; ``got`` and ``expected`` are shown when they help;
    ``fix`` says what to do. The text of every error is part of the interface and is tested.
    """

    def __init__(
        self,
        problem: str,
        *,
        got: object | None = None,
        expected: object | None = None,
        fix: str | None = None,
    ) -> None:
        text = problem
        if got is not None:
            text += f": got {got}"
        if expected is not None:
            text += f"{';' if got is not None else ':'} expected {expected}"
        if fix:
            text += f". {fix[0].upper()}{fix[1:]}"
        super().__init__(" ".join(text.split()))
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
