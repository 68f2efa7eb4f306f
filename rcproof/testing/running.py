"""The contract as functions: for a notebook, a script or a test without classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from rcproof.errors import RcproofError
from rcproof.testing import layer_checks, model_checks
from rcproof.testing.contract import Build, Contract, Subject
from rcproof.testing.known import Reference
from rcproof.testing.model_checks import attempt
from rcproof.verify.report import Check, Report
from rcproof.verify.running import name_of

Clause = Callable[[Subject], list[Check]]

#: The clauses of a model's contract, by name.
MODEL_CLAUSES: dict[str, Clause] = {
    "equivariance": model_checks.equivariance,
    "independence": model_checks.independence,
    "gradients": model_checks.gradients,
    "steadiness": model_checks.steadiness,
    "statistics": model_checks.statistics,
    "graphs": model_checks.graphs,
    "copies": model_checks.copies,
    "dtypes": model_checks.dtypes,
}


def clauses_of(contract: Contract) -> dict[str, Clause]:
    """Those that apply: no gradients of what is not differentiable."""
    return {name: c for name, c in MODEL_CLAUSES.items() if contract.differentiable or name != "gradients"}


def check_rc_model(model: nn.Module | Build, shapes: Sequence[Sequence[int]], **options: Any) -> Report:
    """Whether a model is RC-equivariant and keeps what such a model must: the whole contract, in one report.

    Clauses: equivariance (finite, not constant, every kind of input, several lengths, as built and after training,
    the strands' difference small beside that of two examples), independence of the examples, gradients, the same
    answer each time in eval mode, statistics of training that do not depend on the strand (T10), no autograd graph in
    a buffer, deep copy and saving, dtypes.

    Args:
        model: a module, which is copied and never changed, or a function that builds one. Give a function if the
            module cannot be deep-copied.
        shapes: of each input of one example: (C, L), (C,) or, for tokens, (L,).
        options: those of :class:`Contract`: ``inputs`` and ``outputs`` say how ρ acts.

    Returns a :class:`~rcproof.verify.Report`; a check's name begins with its clause. Errors:
    :class:`~rcproof.errors.RcproofError` for representations that do not fit and the like.

    >>> from rcproof import Conjoined
    >>> net = nn.Sequential(nn.Conv1d(4, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2))
    >>> check_rc_model(Conjoined(net), [(4, 50)], outputs="fixed").passed
    True
    >>> report = check_rc_model(net, [(4, 50)], outputs="fixed")
    >>> report.passed, report.failures[0].name
    (False, 'equivariance: as built, one-hot: output')
    """
    contract = Contract(shapes, **options)
    subject = Subject(model, contract)
    return _report(subject, clauses_of(contract), f"RC contract of {subject.name}")


def check_rc_layer(
    layer: nn.Module | Build, shapes: Sequence[Sequence[int]], *, reference: Reference | None, **options: Any
) -> Report:
    """Whether an RC layer is right: the contract of a model, and that it computes what it should.

    Equivariance alone cannot see that a convolution is doubled, that a norm forgets a residual or that the strands are
    exchanged; a known answer does.

    Args:
        layer: a module or a function that builds one, as in :func:`check_rc_model`.
        shapes: of its inputs.
        reference: ``reference(layer, *inputs)``, the right answer by a plain, slow function of the layer's own
            weights; see :func:`conv_reference` and :func:`lift_reference`. Outputs, input gradients and, where the
            reference has a train mode, training are compared. None leaves the comparison out, which the report notes.
        options: those of :class:`Contract`; ``signed`` is True unless told otherwise.

    >>> from rcproof.nn import RCPSConv1d
    >>> from rcproof.testing import conv_reference
    >>> known = conv_reference(lambda layer: (layer.weight, layer.bias), stride=2)
    >>> check_rc_layer(lambda: RCPSConv1d(3, 5, 4, stride=2, coupled=True), [(6, 25)], reference=known).passed
    True
    >>> known = conv_reference(lambda layer: (2 * layer.weight, layer.bias), stride=2)
    >>> report = check_rc_layer(RCPSConv1d(3, 5, 4, stride=2), [(6, 25)], reference=known)
    >>> report.failures[0].name
    'reference: as built, normal: output'
    """
    contract = Contract(shapes, **{"signed": True, **options})
    subject = Subject(layer, contract)
    clauses = clauses_of(contract)
    if reference is not None:
        known = reference
        clauses = {"reference": lambda s: layer_checks.reference(s, known), **clauses}
    notes = () if reference is not None else ("no reference was given, so nothing says which function this is",)
    return _report(subject, clauses, f"RC contract of the layer {subject.name}", notes)


def run_clause(subject: Subject, name: str, clause: Clause) -> list[Check]:
    """The checks of one clause, named after it."""
    found = attempt("the clause", lambda: clause(subject))
    return [Check(f"{name}: {c.name}", c.error, c.tolerance, c.passed, c.detail) for c in found]


def _report(subject: Subject, clauses: dict[str, Clause], title: str, notes: Sequence[str] = ()) -> Report:
    contract = subject.contract
    try:
        subject.fresh()
    except RcproofError as problem:
        return Report(
            title, (Check.failure("copies: deep copy", str(problem)),), notes=tuple(notes), seed=contract.seed
        )
    checks = [check for name, clause in clauses.items() for check in run_clause(subject, name, clause)]
    facts = {
        "inputs": ", ".join(map(str, contract.input_representations)),
        "shapes": ", ".join(str(tuple(s)) for s in contract.shapes),
        "dtype": name_of(contract.dtype),
        "further dtypes": ", ".join(name_of(d) for d in contract.dtypes) or "none",
        "clauses": ", ".join(clauses),
    }
    return Report(title, tuple(checks), facts, tuple(notes), seed=contract.seed)
