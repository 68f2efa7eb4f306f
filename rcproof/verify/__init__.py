"""Checks of any network: the same function, the same on both strands, one example at a time; and audits.

====================================  ==============================================================
``check_equivalence(a, b, inputs)``   outputs and input gradients of two networks agree
``check_equivariance(model, …)``      model(ρx) = ρ model(x), and not for want of an answer
``check_independence(model, …)``      examples of a batch do not influence each other
``audit(model, …)``                   how far a network is from strand symmetry
``draw_inputs``, ``vary_lengths``     seeded inputs: one-hot, random, all-N, part N, other lengths
``read_fasta``, ``one_hot``           sequences from files
``TOLERANCES``, ``tolerance_for``     how close is equal, and why
====================================  ==============================================================
"""

from rcproof.verify.audit_report import AuditReport, OutputAudit
from rcproof.verify.auditing import audit
from rcproof.verify.equivalence import check_equivalence
from rcproof.verify.equivariance import check_equivariance
from rcproof.verify.fasta import FastaRecord, one_hot, read_fasta
from rcproof.verify.independence import check_independence
from rcproof.verify.inputs import InputCase, draw_inputs, vary_lengths
from rcproof.verify.report import Check, Report
from rcproof.verify.tolerances import TOLERANCES, Tolerance, tolerance_for

__all__ = [
    "TOLERANCES",
    "AuditReport",
    "Check",
    "FastaRecord",
    "InputCase",
    "OutputAudit",
    "Report",
    "Tolerance",
    "audit",
    "check_equivalence",
    "check_equivariance",
    "check_independence",
    "draw_inputs",
    "one_hot",
    "read_fasta",
    "tolerance_for",
    "vary_lengths",
]
