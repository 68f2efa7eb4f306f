"""Checks of any network: the same function, the same on both strands, one example at a time; and audits.

====================================  ==============================================================
``check_equivalence(a, b, inputs)``   outputs and input gradients of two networks agree
``check_equivariance(model, …)``      model(ρx) = ρ model(x), and not for want of an answer
``check_independence(model, …)``      examples of a batch do not influence each other
``check_exact(a, b, inputs)``         the same in exact rational arithmetic, with tolerance zero
``check_bounds(a, b, inputs)``        floating-point results differ by no more than rounding bounds
``metric_equality(a, b, …)``          both score the same on data
``climb(a, b, cases, level, …)``      exact, bounds, numeric, or all of them
``audit(model, …)``                   how far a network is from strand symmetry
``draw_inputs``, ``vary_lengths``     seeded inputs: one-hot, random, all-N, part N, other lengths
``read_fasta``, ``one_hot``           sequences from files
``TOLERANCES``, ``tolerance_for``     how close is equal, and why
====================================  ==============================================================
"""

from rcproof.verify.audit_report import AuditReport, OutputAudit
from rcproof.verify.auditing import audit
from rcproof.verify.bounds import BoundsFound, check_bounds
from rcproof.verify.equivalence import check_equivalence
from rcproof.verify.equivariance import check_equivariance
from rcproof.verify.exact import check_exact
from rcproof.verify.fasta import FastaRecord, one_hot, read_fasta
from rcproof.verify.independence import check_independence
from rcproof.verify.inputs import InputCase, draw_inputs, vary_lengths
from rcproof.verify.ladder import Cases, Ladder, climb
from rcproof.verify.metrics import metric_equality
from rcproof.verify.report import Check, Report
from rcproof.verify.tolerances import TOLERANCES, Tolerance, tolerance_for

__all__ = [
    "TOLERANCES",
    "AuditReport",
    "BoundsFound",
    "Cases",
    "Check",
    "FastaRecord",
    "InputCase",
    "Ladder",
    "OutputAudit",
    "Report",
    "Tolerance",
    "audit",
    "check_bounds",
    "check_equivalence",
    "check_equivariance",
    "check_exact",
    "check_independence",
    "climb",
    "draw_inputs",
    "metric_equality",
    "one_hot",
    "read_fasta",
    "tolerance_for",
    "vary_lengths",
]
