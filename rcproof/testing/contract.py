"""What a model promises, and the copies of it that are tested."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rcproof.errors import RcproofError
from rcproof.nn import RCPSDropout
from rcproof.strand import Representation, RepresentationLike, representations
from rcproof.testing.values import normal
from rcproof.verify.inputs import KINDS, InputCase, draw_inputs, is_dna, vary_lengths
from rcproof.verify.running import act, call, describe, place
from rcproof.verify.tolerances import tolerance_for

Build = Callable[[], nn.Module]

#: What torch calls dropout, and ours.
DROPOUT = (
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, RCPSDropout
)  # fmt: skip


@dataclass(frozen=True)
class Contract:
    """What a model or layer promises.

    Attributes:
        shapes: of each input of one example, (C, L), (C,) or, for tokens, (L,).
        inputs: how ρ acts on each input (one for all, or one each).
        outputs: how ρ acts on each output (one for all, or one each).
        lengths: further lengths of the first input, every one of which must work; inputs with a length change it by
            the same number of positions. Default: the shortest, half, an odd one and those next to the one given, as
            far as the model takes them, so that windows align in some and not in others.
        kinds: of input; see :func:`rcproof.verify.draw_inputs`.
        signed: whether inputs other than DNA may be negative, as the inputs of a layer are (default for layers).
        dtype: in which everything is tested.
        dtypes: further dtypes in which the model works.
        tolerance: relative, in ``dtype``; default: the table in :mod:`rcproof.verify.tolerances`.
        batch: examples a batch, at least 2.
        randomise: test with random weights too. Initial biases of 0 and norm scales of 1 hide mistakes. Switch it off
            where equivariance lies in the values of parameters and not in how they are used.
        differentiable: whether outputs have gradients by the inputs.
        saved_whole: whether ``torch.save(model)`` must work.
        seed: of all that is random.

    >>> Contract(shapes=[(4, 60)], outputs="fixed").dtypes
    (torch.float32,)
    """

    shapes: Sequence[Sequence[int]]
    inputs: RepresentationLike | Sequence[RepresentationLike] = "reversal"
    outputs: RepresentationLike | Sequence[RepresentationLike] = "reversal"
    lengths: Sequence[int] | None = None
    kinds: Sequence[str] = KINDS
    signed: bool = False
    dtype: torch.dtype = torch.float64
    dtypes: Sequence[torch.dtype] = (torch.float32,)
    tolerance: float | None = None
    batch: int = 4
    randomise: bool = True
    differentiable: bool = True
    saved_whole: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch < 2:
            raise RcproofError("batch of a contract", got=self.batch, expected="at least 2 examples to tell apart")
        tuple(draw_inputs(self.shapes, self.input_representations, kinds=self.kinds, batch=1))  # errors show up here

    @property
    def input_representations(self) -> tuple[Representation, ...]:
        """One for each input."""
        found = representations(self.inputs)
        return found * len(self.shapes) if len(found) == 1 else found

    def output_representations(self, count: int) -> tuple[Representation, ...]:
        """One for each of ``count`` outputs."""
        found = representations(self.outputs)
        return found * count if len(found) == 1 else found

    @property
    def limit(self) -> float:
        """The relative tolerance in ``dtype``."""
        return tolerance_for(self.dtype).relative if self.tolerance is None else self.tolerance

    def cases(self, shift: int = 0) -> list[InputCase]:
        """Inputs of every kind, of the shapes given or ``shift`` positions longer."""
        reps = self.input_representations
        shapes = [
            (*s[:-1], s[-1] + shift) if len(s) == 2 or r.tokens else tuple(s)
            for s, r in zip(self.shapes, reps, strict=True)
        ]
        cases = list(draw_inputs(shapes, reps, kinds=self.kinds, batch=self.batch, seed=self.seed))
        if not self.signed or all(r.tokens or is_dna(s, r) for s, r in zip(shapes, reps, strict=True)):
            return cases
        tensors = tuple(
            normal(self.seed + 17 + i, *t.shape) if t.is_floating_point() else t for i, t in enumerate(cases[0].tensors)
        )
        return [InputCase("normal", tensors), *cases]

    def other_lengths(self, model: nn.Module) -> list[InputCase]:
        """One case for each further length; the given ones, or those that the model takes."""
        if self.lengths is None:
            return vary_lengths(
                model, self.shapes, self.input_representations, kinds=self.kinds[:1], batch=self.batch,
                dtype=self.dtype, seed=self.seed,
            )  # fmt: skip
        first = self.shapes[0][-1]
        cases = []
        for length in self.lengths:
            case = self.cases(length - first)[0]
            cases.append(InputCase(f"{case.name}, length {length}", case.tensors))
        return cases

    def mirror(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """ρ on every input."""
        return tuple(act(rep, t) for rep, t in zip(self.input_representations, tensors, strict=True))


class Subject:
    """A model under test: every call of :meth:`fresh` and :meth:`trained` gives another copy, the same each time."""

    def __init__(self, model: nn.Module | Build, contract: Contract) -> None:
        self.contract = contract
        self._build: Build | None = None
        if isinstance(model, nn.Module):
            self._first = model
        elif callable(model):
            self._build = model
            self._first = self._built()
        else:
            raise RcproofError(
                "a model to test", got=type(model).__name__, expected="a torch.nn.Module or a function that builds one"
            )
        self.name = type(self._first).__name__

    def _built(self) -> nn.Module:
        assert self._build is not None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.contract.seed)
            made = self._build()
        if not isinstance(made, nn.Module):
            raise RcproofError("what build returns", got=type(made).__name__, expected="a torch.nn.Module")
        return made

    def fresh(self) -> nn.Module:
        """The model as it was built or given, in the contract's dtype and eval mode."""
        try:
            made = copy.deepcopy(self._first)
        except Exception as problem:
            if self._build is None:
                raise RcproofError(
                    f"{self.name} cannot be deep-copied", got=describe(problem), fix="give a function that builds it"
                ) from problem
            made = self._built()
            made.load_state_dict(self._first.state_dict())
        return made.to(self.contract.dtype).eval()

    def random(self) -> nn.Module:
        """The same with random parameters, scaled so that sums of many terms stay about one; buffers as they were."""
        model = self.fresh()
        if self.contract.randomise:
            with torch.no_grad():
                for i, p in enumerate(model.parameters()):
                    if p.is_floating_point():
                        noise = normal(self.contract.seed + 101 + i, *p.shape).to(p)
                        if p.dim() > 1:
                            p.copy_(noise / max(p[0].numel(), 1) ** 0.5)
                        else:
                            p.add_(0.3 * noise)
        return model

    def trained(self, steps: int = 2) -> nn.Module:
        """The same after ``steps`` batches in train mode with gradients; in eval mode."""
        model = self.random().train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.contract.seed)
            cases = self.contract.cases()[:2]
            for step in range(steps):
                case = cases[step % len(cases)]
                outputs = call(model, place(case.tensors, model, self.contract.dtype)).values()
                total = sum(y.square().mean() for y in outputs if y.is_floating_point())
                if isinstance(total, Tensor) and total.requires_grad:
                    total.backward()
        return model.eval()

    def silenced(self) -> nn.Module:
        """Random weights, in train mode but for dropout."""
        model = self.random().train()
        for module in model.modules():
            if isinstance(module, DROPOUT):
                module.eval()
        return model


class ChannelsLast(nn.Module):
    """A module of tensors (N, L, C), as transformers are, seen as one of (N, C, L), on which ρ is defined.

    Inputs and outputs of rank 3 are transposed; a tuple, list or dict that the module returns is kept.

    >>> ChannelsLast(nn.LayerNorm(6))(torch.zeros(2, 6, 10)).shape
    torch.Size([2, 6, 10])
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *xs: Tensor) -> object:
        return _turned(self.module(*(_turned(x) for x in xs)))


def _turned(value: object) -> object:
    if isinstance(value, Tensor):
        return value.transpose(1, 2) if value.dim() == 3 else value
    if isinstance(value, tuple | list):
        return type(value)(_turned(v) for v in value)
    if isinstance(value, dict):
        return {key: _turned(v) for key, v in value.items()}
    return value
