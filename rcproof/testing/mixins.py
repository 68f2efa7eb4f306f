"""Pytest mix-ins: name what your model promises and inherit the tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor, nn

from rcproof.strand import RepresentationLike
from rcproof.testing import layer_checks
from rcproof.testing.contract import Contract, Subject
from rcproof.testing.known import Reference, conv_reference, lift_reference
from rcproof.testing.running import MODEL_CLAUSES, Clause, run_clause
from rcproof.verify.inputs import KINDS
from rcproof.verify.report import Report


class RCEquivariantModel:
    """Tests of a model: give ``build`` and ``shapes``, and say how ρ acts.

    The attributes are those of :class:`~rcproof.testing.Contract`, where each is explained. A test fails with the
    first few checks that did not hold, each with its error and tolerance. Name the class ``Test…``, so that pytest
    finds it:

    >>> from rcproof import Conjoined
    >>> class TestMyModel(RCEquivariantModel):
    ...     shapes = [(4, 60)]
    ...     outputs = "reversal"
    ...     def build(self):
    ...         return Conjoined(nn.Sequential(nn.Conv1d(4, 8, 7), nn.ReLU(), nn.Conv1d(8, 2, 4)), outputs="reversal")
    >>> TestMyModel().test_equivariance()

    A test that does not apply to your model is switched off as any inherited test is, ``test_statistics = None``, or by
    an attribute: ``differentiable = False``, ``saved_whole = False``.
    """

    shapes: ClassVar[Sequence[Sequence[int]]]
    inputs: ClassVar[RepresentationLike | Sequence[RepresentationLike]] = "reversal"
    outputs: ClassVar[RepresentationLike | Sequence[RepresentationLike]] = "reversal"
    lengths: ClassVar[Sequence[int] | None] = None
    kinds: ClassVar[Sequence[str]] = KINDS
    signed: ClassVar[bool] = False
    dtype: ClassVar[torch.dtype] = torch.float64
    dtypes: ClassVar[Sequence[torch.dtype]] = (torch.float32,)
    tolerance: ClassVar[float | None] = None
    batch: ClassVar[int] = 4
    randomise: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    saved_whole: ClassVar[bool] = True
    seed: ClassVar[int] = 0

    def build(self) -> nn.Module:
        """The model, made anew; torch's generator is seeded before."""
        raise NotImplementedError(f"{type(self).__name__} needs a method build() that returns the model")

    def contract(self) -> Contract:
        """What the attributes promise."""
        return Contract(**{f.name: getattr(self, f.name) for f in fields(Contract)})

    def holds(self, name: str, clause: Clause) -> None:
        """Run one clause; :class:`~rcproof.errors.VerificationError` if it does not hold."""
        subject = Subject(self.build, self.contract())
        checks = run_clause(subject, name, clause)
        Report(f"{type(self).__name__}: {subject.name}", tuple(checks), seed=self.seed).raise_if_failed()

    def test_equivariance(self) -> None:
        """The other strand gets the mirrored answer: every kind of input, several lengths, as built and trained."""
        self.holds("equivariance", MODEL_CLAUSES["equivariance"])

    def test_independence(self) -> None:
        """The examples of a batch do not influence each other."""
        self.holds("independence", MODEL_CLAUSES["independence"])

    def test_gradients(self) -> None:
        """Both strands give the same gradients, and not zero."""
        if not self.differentiable:
            pytest.skip("differentiable = False")
        self.holds("gradients", MODEL_CLAUSES["gradients"])

    def test_steadiness(self) -> None:
        """In eval mode nothing is random and nothing changes."""
        self.holds("steadiness", MODEL_CLAUSES["steadiness"])

    def test_statistics(self) -> None:
        """What train mode leaves behind does not depend on the strand that a batch is given on (T10)."""
        self.holds("statistics", MODEL_CLAUSES["statistics"])

    def test_graphs(self) -> None:
        """No buffer keeps an autograd graph alive."""
        self.holds("graphs", MODEL_CLAUSES["graphs"])

    def test_copies(self) -> None:
        """Deep copy, state dict and saved model answer the same."""
        self.holds("copies", MODEL_CLAUSES["copies"])

    def test_dtypes(self) -> None:
        """The model works in each of ``dtypes``, and answers in the precision that it is in."""
        self.holds("dtypes", MODEL_CLAUSES["dtypes"])


class RCLayer(RCEquivariantModel):
    """Tests of an RC layer: those of a model, and a known answer next to the equivariance.

    Say what the layer computes, in one of three ways; without one ``test_reference`` fails, since equivariance does
    not tell a convolution from its double.

    - ``kind = "conv"`` with a method ``weights``: the free kernel W and bias. The layer is compared with the
      convolution of W on each strand, which is that with ``cat([W, W.flip])`` where windows align; ``options`` are its
      ``stride``, ``padding``, ``dilation`` and ``groups``.
    - ``kind = "lift"`` with a method ``plain``: an ordinary layer with the same weights, run on each strand. Say
      ``source`` if the input is closed, such as DNA, and no strand pair. Train mode is compared too.
    - a method ``reference``: any function of the layer and its inputs.

    >>> from rcproof.nn import RCPSConv1d
    >>> class TestMyConv(RCLayer):
    ...     shapes, kind, options = [(6, 40)], "conv", {"stride": 3}
    ...     def build(self):
    ...         return RCPSConv1d(3, 5, 4, stride=3, coupled=True)
    ...     def weights(self, layer):
    ...         return layer.weight, layer.bias
    >>> TestMyConv().test_reference()
    """

    signed = True
    kind: ClassVar[Literal["conv", "lift"] | None] = None
    options: ClassVar[dict[str, Any]] = {}
    source: ClassVar[RepresentationLike | None] = None

    def weights(self, layer: Any) -> tuple[Tensor, Tensor | None]:
        """For ``conv``: the free kernel (F, C, K), and the bias (F,) or None."""
        raise NotImplementedError(f"{type(self).__name__} of kind 'conv' needs a method weights(layer)")

    def plain(self, layer: Any) -> nn.Module:
        """For ``lift``: the ordinary layer with this layer's weights and statistics."""
        raise NotImplementedError(f"{type(self).__name__} of kind 'lift' needs a method plain(layer)")

    def reference(self, layer: Any, *xs: Tensor) -> Any:
        """The right answer, by a plain, slow function of the layer's own weights."""
        raise NotImplementedError(f"{type(self).__name__} needs a kind, or a method reference(layer, *inputs)")

    def known(self) -> Reference:
        """The reference that the attributes name."""
        if self.kind == "conv":
            return conv_reference(self.weights, source=self.source or self.contract().input_representations[0],
                                  **self.options)  # fmt: skip
        return lift_reference(self.plain, source=self.source) if self.kind == "lift" else self.reference

    def test_reference(self) -> None:
        """The layer computes what it should, and so do its gradients."""
        if self.kind is None and type(self).reference is RCLayer.reference:
            self.reference(None)
        known = self.known()
        self.holds("reference", lambda subject: layer_checks.reference(subject, known))
