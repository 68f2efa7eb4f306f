"""Against a known answer: the clause that equivariance cannot replace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.testing.contract import DROPOUT, Subject
from rcproof.testing.known import Lift, Reference
from rcproof.testing.model_checks import answers, states
from rcproof.verify.equivalence import check_equivalence
from rcproof.verify.inputs import InputCase
from rcproof.verify.report import Check
from rcproof.verify.running import Difference, checks_of, compare, place


class Known(nn.Module):
    """The reference as a module on the layer's own weights."""

    def __init__(self, layer: nn.Module, function: Reference) -> None:
        super().__init__()
        self.layer, self.function = layer, function

    def forward(self, *xs: Tensor) -> Any:
        return self.function(self.layer, *xs)


def reference(subject: Subject, known: Reference) -> list[Check]:
    """The layer computes what the reference does: outputs and input gradients, as built and after training, at every
    length. For a :class:`Lift`, train mode too."""
    contract, checks = subject.contract, []
    for state, make in states(subject).items():
        layer = make()
        cases = contract.cases() + contract.other_lengths(layer)
        report = check_equivalence(
            Known(layer, known).eval(), layer, cases, gradients=contract.differentiable, dtype=contract.dtype,
            tolerance=contract.limit, seed=contract.seed,
        )  # fmt: skip
        checks += [Check(f"{state}, {c.name}", c.error, c.tolerance, c.passed, c.detail) for c in report.checks]
    return checks + training(subject, known) if isinstance(known, Lift) else checks


def training(subject: Subject, known: Lift) -> list[Check]:
    """One batch in train mode, dropout off: the answers of the ordinary layer on the doubled batch, and afterwards
    its running statistics, seen in eval mode."""
    contract, checks = subject.contract, []
    for case in contract.cases()[:2]:
        layer, other = subject.silenced(), subject.silenced()
        plain = known.plain(other).train()
        for module in plain.modules():
            if isinstance(module, DROPOUT):
                module.eval()
        found = {f"in train mode, {case.name}": _compared(subject, layer, known, plain, [case])}
        layer.eval()
        plain.eval()
        found[f"after a batch of {case.name} in train mode"] = _compared(subject, layer, known, plain, contract.cases())
        checks += checks_of(found, contract.limit)
    return checks


def _compared(
    subject: Subject, layer: nn.Module, known: Lift, plain: nn.Module, cases: Sequence[InputCase]
) -> dict[str, Difference]:
    found = {}
    for case in cases:
        (got,) = answers(subject, layer, case).values()
        (x,) = place(case.tensors, layer, subject.contract.dtype)
        with torch.no_grad():
            found[case.name] = compare(known.run(plain, x), got, ("known", "layer"))
    return found
