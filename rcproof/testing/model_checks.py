"""The contract, clause by clause: each function tests one, on copies of the model, and returns what it found."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from rcproof.errors import RcproofError
from rcproof.strand import Representation
from rcproof.testing.contract import Subject
from rcproof.verify.equivalence import jitter
from rcproof.verify.equivariance import check_equivariance
from rcproof.verify.independence import check_independence
from rcproof.verify.inputs import InputCase
from rcproof.verify.report import Check
from rcproof.verify.running import Difference, Spread, act, call, checks_of, compare, describe, name_of, place
from rcproof.verify.tolerances import tolerance_for

#: The strands may differ by no more than this share of what tells one example from another. An output of 1 + 1e-6·f(x)
#: passes in float32 whatever f is, if its error is only measured against 1.
BESIDE_VARIATION = 1e-3

Outputs = dict[str, Tensor]


def _named(checks: Sequence[Check], prefix: str) -> list[Check]:
    return [Check(f"{prefix}, {c.name}", c.error, c.tolerance, c.passed, c.detail) for c in checks]


def answers(subject: Subject, model: nn.Module, case: InputCase) -> Outputs:
    """The model's outputs without gradients, in the mode it is in."""
    with torch.no_grad():
        return call(model, place(case.tensors, model, subject.contract.dtype))


def mirrored(subject: Subject, outputs: Outputs) -> Outputs:
    """ρ_out on every output."""
    reps = subject.contract.output_representations(len(outputs))
    return {name: act(rep, y) for rep, (name, y) in zip(reps, outputs.items(), strict=True)}


def same(subject: Subject, a: nn.Module, b: nn.Module, what: str, tolerance: float | None = None) -> list[Check]:
    """Whether two models, as they stand, answer alike on every case."""
    found: dict[str, dict[str, Difference]] = {}
    for case in subject.contract.cases():
        mine, theirs = answers(subject, a, case), answers(subject, b, case)
        for name, y in mine.items():
            found.setdefault(f"{what}: {name}", {})[case.name] = compare(y, theirs[name])
    return checks_of(found, subject.contract.limit if tolerance is None else tolerance)


def states(subject: Subject) -> dict[str, Callable[[], nn.Module]]:
    """The model as it was built, and with random weights after two batches in train mode."""
    return {"as built": subject.fresh, "after two batches of training": subject.trained}


def equivariance(subject: Subject) -> list[Check]:
    """model(ρx) = ρ model(x), finite and not constant, on every kind of input and at several lengths."""
    contract, checks = subject.contract, []
    for state, make in states(subject).items():
        model = make()
        cases = contract.cases() + contract.other_lengths(model)
        count = len(answers(subject, model, cases[0]))
        outputs = contract.output_representations(count)
        report = check_equivariance(
            model, cases, contract.input_representations, outputs, dtype=contract.dtype, tolerance=contract.limit,
            seed=contract.seed,
        )  # fmt: skip
        checks += _named(report.checks, state)
        if report.passed:
            checks += _named(beside_variation(subject, model, cases), state)
    return checks


def beside_variation(subject: Subject, model: nn.Module, cases: Sequence[InputCase]) -> list[Check]:
    """The strands' difference against the spread of the examples, for each case whose examples differ."""
    worst: dict[str, float] = {}
    for case in cases:
        given = answers(subject, model, case)
        other = answers(subject, model, InputCase(case.name, subject.contract.mirror(case.tensors)))
        for name, y in mirrored(subject, given).items():
            spread = Spread()
            spread.add(given[name])
            if not spread.constant(subject.contract.limit):
                error = compare(y, other[name]).largest / spread.spread
                worst[name] = max(worst.get(name, 0.0), error)
    return [
        Check.of(f"{name} beside its variation between examples", error, BESIDE_VARIATION)
        for name, error in worst.items()
    ]


def independence(subject: Subject) -> list[Check]:
    """Each example of a batch is answered as if it were alone."""
    contract, checks = subject.contract, []
    for state, make in states(subject).items():
        cases = [case for case in contract.cases() if case.name in ("normal", "one-hot", "random")] or contract.cases()
        report = check_independence(make(), cases, dtype=contract.dtype, tolerance=contract.limit, seed=contract.seed)
        checks += _named(report.checks, state)
    return checks


def gradients(subject: Subject) -> list[Check]:
    """The gradients of ⟨w, f(x)⟩ and of ⟨ρw, f(ρx)⟩ are each other's mirror image by the inputs, and the same by the
    parameters."""
    model, contract = subject.trained(), subject.contract
    found: dict[str, dict[str, Difference]] = {}
    reached = 0.0
    floats = False
    for case in contract.cases()[:2]:
        generator = torch.Generator().manual_seed(contract.seed)
        moved = jitter(case.tensors, generator)
        with torch.no_grad():
            shapes = {k: y.shape for k, y in call(model, place(moved, model, contract.dtype)).items()}
        weights = {k: torch.randn(s, generator=generator, dtype=torch.float64) for k, s in shapes.items()}
        reps = contract.output_representations(len(weights))
        other = {k: act(rep, w) for rep, (k, w) in zip(reps, weights.items(), strict=True)}
        mine = _gradients(model, place(moved, model, contract.dtype), weights)
        theirs = _gradients(model, place(contract.mirror(moved), model, contract.dtype), other)
        inputs = contract.input_representations
        for name, g in mine.items():
            expected = _back(inputs, name, g)
            found.setdefault(f"gradient by {name}", {})[case.name] = compare(
                expected, theirs[name], ("for one strand", "for the other")
            )
            if name.startswith("input"):
                floats = True
                reached = max(reached, float(g.abs().max()) if g.numel() else 0.0)
    checks = checks_of(found, contract.limit)
    if floats and not reached > 0:
        checks.append(Check.failure("outputs have a gradient by the inputs", "it is zero everywhere"))
    return checks


def _back(inputs: Sequence[Representation], name: str, g: Tensor) -> Tensor:
    kind, _, index = name.partition(" ")
    return act(inputs[int(index)], g) if kind == "input" else g


def _gradients(model: nn.Module, tensors: Sequence[Tensor], weights: Outputs) -> dict[str, Tensor]:
    """By each floating-point input and each parameter; zeros where there is none."""
    leaves = {f"input {i}": t.clone().requires_grad_() if t.is_floating_point() else t for i, t in enumerate(tensors)}
    wanted = {name: t for name, t in leaves.items() if t.requires_grad}
    wanted |= {f"parameter {name}": p for name, p in model.named_parameters() if p.requires_grad}
    outputs = call(model, list(leaves.values()))
    total = sum((y * weights[k].to(y)).sum() for k, y in outputs.items() if y.is_floating_point() and y.requires_grad)
    if not isinstance(total, Tensor):
        return {name: torch.zeros_like(t) for name, t in wanted.items()}
    parts = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    return {n: torch.zeros_like(t) if g is None else g for (n, t), g in zip(wanted.items(), parts, strict=True)}


def steadiness(subject: Subject) -> list[Check]:
    """In eval mode the same input gets the same answer, bit for bit, and running the model changes nothing in it."""
    model = subject.trained()
    before = {name: v.clone() for name, v in model.state_dict().items() if isinstance(v, Tensor)}
    checks = same(subject, model, model, "the same input twice", 0.0)
    state = model.state_dict()
    changed = [
        name for name, v in before.items() if not torch.equal(torch.nan_to_num(v), torch.nan_to_num(state[name]))
    ]
    if changed:
        detail = f"{', '.join(changed[:3])} changed"
        return [*checks, Check.failure("running in eval mode changes no parameter or buffer", detail)]
    return [*checks, Check("running in eval mode changes no parameter or buffer", 0.0, 0.0, True)]


def statistics(subject: Subject) -> list[Check]:
    """Training on a batch, on its reverse complement, or with every other example reversed, leaves one and the same
    model, and answers in train mode are equivariant. Theorem T10; dropout is off."""
    contract = subject.contract
    given = contract.cases()[0]
    flipped = contract.mirror(given.tensors)
    halves = tuple(t.clone() for t in given.tensors)
    for h, f in zip(halves, flipped, strict=True):
        h[::2] = f[::2]
    batches = {"given": given.tensors, "reversed": flipped, "half reversed": halves, "again": given.tensors}
    models, outputs = {}, {}
    for i, (name, tensors) in enumerate(batches.items()):
        models[name] = subject.silenced()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(contract.seed + i)
            outputs[name] = answers(subject, models[name], InputCase(name, tensors))
        models[name].eval()
    again = {k: {"": compare(y, outputs["again"][k])} for k, y in outputs["given"].items()}
    if any(0 < d.largest < math.inf for c in again.values() for d in c.values()):
        detail = "train mode draws random numbers of its own, so statistics were not compared"
        return [Check("statistics of training", 0.0, contract.limit, True, detail)]
    found = {
        f"{k} in train mode": {"reversed": compare(y, outputs["reversed"][k], ("ρ model(x)", "model(ρx)"))}
        for k, y in mirrored(subject, outputs["given"]).items()
    }
    checks = checks_of(found, contract.limit)
    for name in ("reversed", "half reversed"):
        checks += same(subject, models["given"], models[name], f"trained on a batch, or on it {name}")
    return checks


def graphs(subject: Subject) -> list[Check]:
    """After training no buffer is part of an autograd graph, which would keep every batch's memory alive."""
    model = subject.trained(3)
    kept = [name for name, b in model.named_buffers() if b.requires_grad or b.grad_fn is not None]
    if kept:
        return [Check.failure("buffers hold no autograd graph", f"{', '.join(kept[:3])} after three batches")]
    return [Check("buffers hold no autograd graph", 0.0, 0.0, True)]


def copies(subject: Subject) -> list[Check]:
    """After training the model can be deep-copied, saved whole and saved as a state dict, and answers the same."""
    model = subject.trained()
    ways: dict[str, Callable[[], nn.Module]] = {
        "deep copy after training": lambda: copy.deepcopy(model),
        "state dict": lambda: _through_state_dict(subject, model),
    }
    if subject.contract.saved_whole:
        ways["saved whole"] = lambda: _through_file(model)
    checks = []
    for what, way in ways.items():
        checks += attempt(what, lambda way=way, what=what: same(subject, model, way().eval(), what))  # type: ignore[misc]
    return checks


def _through_file(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)  # the model that was written a line above
    assert isinstance(again, nn.Module)
    return again


def _through_state_dict(subject: Subject, model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    again = subject.fresh()
    again.load_state_dict(torch.load(file, weights_only=True), strict=True)
    return again


def dtypes(subject: Subject) -> list[Check]:
    """In every dtype promised: the answer of the same rounded weights in the main dtype, and equivariance."""
    main, checks = subject.contract.dtype, []
    for name, y in answers(subject, subject.trained(), subject.contract.cases()[0]).items():
        checks += _coarser(name, y, main) or [Check(f"{name} is {name_of(main)}", 0.0, 0.0, True)]
    for dtype in subject.contract.dtypes:
        if dtype != main:
            checks += attempt(name_of(dtype), lambda dtype=dtype: _in_dtype(subject, dtype))  # type: ignore[misc]
    return checks


def _in_dtype(subject: Subject, dtype: torch.dtype) -> list[Check]:
    contract, name = subject.contract, name_of(dtype)
    model, exact = subject.trained().to(dtype), subject.trained().to(dtype).to(contract.dtype)
    cases = [
        InputCase(c.name, tuple(t.to(dtype) if t.is_floating_point() else t for t in c.tensors))
        for c in contract.cases()
    ]
    limit = max(tolerance_for(dtype).relative, contract.limit)
    found: dict[str, dict[str, Difference]] = {}
    for case in cases:
        got = _answers_in(dtype, model, case.tensors)
        other = _answers_in(dtype, model, contract.mirror(case.tensors))
        want = _answers_in(contract.dtype, exact, case.tensors)
        expected = mirrored(subject, got)
        for output, y in got.items():
            if wrong := _coarser(output, y, dtype):
                return wrong
            names = (f"in {name_of(contract.dtype)}", f"in {name}")
            found.setdefault(f"{output} in {name}", {})[case.name] = compare(want[output], y, names)
            mirror = compare(expected[output], other[output], ("ρ model(x)", "model(ρx)"))
            found.setdefault(f"{output} of the other strand in {name}", {})[case.name] = mirror
    return checks_of({quantity: _levelled(cases) for quantity, cases in found.items()}, limit)


def _answers_in(dtype: torch.dtype, model: nn.Module, tensors: Sequence[Tensor]) -> Outputs:
    with torch.no_grad():
        return call(model, place(tensors, model, dtype))


def _levelled(cases: dict[str, Difference]) -> dict[str, Difference]:
    """All scaled by the largest case: in low precision an answer that nearly cancels has no digits left."""
    most = max((d.scale for d in cases.values() if math.isfinite(d.scale)), default=0.0)
    return {name: replace(d, scale=most) if math.isfinite(d.scale) else d for name, d in cases.items()}


def _coarser(output: str, y: Tensor, dtype: torch.dtype) -> list[Check]:
    if y.is_floating_point() and torch.finfo(y.dtype).eps > torch.finfo(dtype).eps:
        return [Check.failure(f"{output} is {name_of(dtype)}", f"it is {name_of(y.dtype)}")]
    return []


def attempt(what: str, run: Callable[[], list[Check]]) -> list[Check]:
    """What ``run`` finds; an exception that the model raises is a failure, a user's mistake is not caught."""
    try:
        return run()
    except RcproofError:
        raise
    except Exception as problem:  # whatever somebody's model raises
        return [Check.failure(f"{what}: the model runs", f"it raised {describe(problem)}")]
