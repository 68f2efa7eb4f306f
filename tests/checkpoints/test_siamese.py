"""Siamese graphs: every form is found, computes what the file does, and converts; what only looks so is left alone."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import rcproof.checkpoints.siamese.making as making
import rcproof.checkpoints.siamese.pairing as pairing
import rcproof.checkpoints.siamese.recognition as recognition
from rcproof.checkpoints.imported import Imported, ReadOptions
from rcproof.checkpoints.reading import read_model
from rcproof.checkpoints.siamese import NotSiamese, Siamese, as_conjoined, confirm, recognise
from rcproof.checkpoints.siamese.actions import on_the_other_strand, representation_of
from rcproof.conjoined import Conjoined
from rcproof.convert import ConvertConfig, convert
from rcproof.errors import CheckpointError, VerificationError
from rcproof.network.graph import Ref
from rcproof.network.network import Network
from rcproof.strand import Representation, rc, representation
from tests.checkpoints.siamese_graphs import FORMS, TRACKS, Form, Maker, made, profile, scores
from tests.strategies import closed_representations, normal, seeds


def tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    return [t for v in (output.values() if isinstance(output, dict) else output) for t in tensors(v)]


def draw(shapes: Sequence[tuple[int, ...]], seed: int = 3, batch: int = 3) -> list[Tensor]:
    return [normal(seed + i, batch, *shape) for i, shape in enumerate(shapes)]


def same(got: Any, want: Any, tolerance: float = 1e-12) -> None:
    ours, theirs = tensors(got), tensors(want)
    assert len(ours) == len(theirs)
    assert type(got) is type(want)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert b.abs().max() > 0
        assert not ((a - b).abs().max() > tolerance * b.abs().max()) and torch.isfinite(a).all()


def found(form: Form, network: Network) -> Siamese:
    result = recognise(network, form.shapes, form.given)
    assert isinstance(result, Siamese), result
    return result


def check(form: Form, seed: int = 0) -> None:
    """What is found is what the form says, and computes what the file computes on both strands."""
    network = form.network(seed)
    siamese = found(form, network)
    conjoined = siamese.conjoined
    assert tuple(map(str, conjoined.inputs)) == form.inputs
    assert conjoined.outputs is not None
    assert tuple(map(str, conjoined.outputs)) == form.outputs
    assert conjoined.merge == form.merge
    finals = conjoined.finals(len(form.outputs))
    kinds = [None if f is None or isinstance(f, nn.Identity) else type(f).__name__.lower() for f in finals]
    assert tuple(kinds) == form.final
    assert siamese.inputs == form.taken
    assert siamese.partners == form.partners
    held = {id(p) for p in network.parameters()}
    assert {id(p) for p in conjoined.parameters()} <= held, "a layer was copied"
    assert not any(m.training for m in conjoined.modules())
    for x in (draw([form.shapes[i] for i in form.taken], s) for s in (3, 40)):
        same(conjoined(*x), network(*form.rho(*x)))
    confirm(siamese, network)


@pytest.mark.parametrize("name", FORMS)
def test_found(name: str) -> None:
    check(FORMS[name])


@pytest.mark.parametrize("name", FORMS)
def test_converts(name: str) -> None:
    """The whole way: the file's graph → conjoined → RCPS weights, which compute what the file computes."""
    form = FORMS[name]
    network = form.network(1)
    siamese = found(form, network)
    shapes = [form.shapes[i] for i in form.taken]
    conversion = convert(siamese.conjoined, ConvertConfig(input_shapes=shapes))
    for seed in (5, 60):
        x = draw(shapes, seed)
        same(conversion.model(*x), network(*form.rho(*x)))
    x = draw(shapes, 7)
    turned = [rc(v, r) for v, r in zip(x, siamese.conjoined.inputs, strict=True)]
    if form.final.count(None) == len(form.final) and not any("-" in r for r in form.inputs):
        want = [rc(y, r) for y, r in zip(tensors(conversion.model(*x)), siamese.conjoined.outputs or (), strict=True)]
        same(tuple(tensors(conversion.model(*turned))), tuple(want))


def test_state_dict_keys_stay() -> None:
    form = FORMS["profile with a final step each"]
    network = form.network()
    siamese = found(form, network)
    assert {k for k in network.state_dict() if not k.startswith("smooth")} == set(siamese.branch.state_dict())
    assert set(siamese.conjoined.state_dict()) == {
        *(f"net.{k}" for k in siamese.branch.state_dict()), "final.1.smooth.weight", "final.1.smooth.bias",
    }  # fmt: skip


def test_notes() -> None:
    form = FORMS["FactorNet with metadata"]
    assert found(form, form.network()).notes == (
        "siamese: the same layers read both strands; merge mean, followed by nothing",
        "input 'input_2' is the other strand of 'input_1', under perm:3,2,1,0,4,5 (as given)",
        "input 'input_3' is read by both strands as it is (fixed)",
        "the answer of the other strand is merged under fixed",
    )
    form = FORMS["an input that nothing reads"]
    assert found(form, form.network()).notes[1:] == (
        "input 'y' is the other strand of 'x', under reversal (assumed, for an input with four channels)",
        "the answer of the other strand is merged under fixed",
        "input 'unused' is not read, and left out",
    )
    form = FORMS["profile with a final step each"]
    lines = found(form, form.network()).notes
    assert lines[0] == "siamese: the same layers read both strands; merge sum/max, followed by softplus/more"
    assert lines[1] == "the other strand of input 'sequence' is made in the graph, by reversal"
    assert lines[4] == "the answer of the other strand is merged under fixed, length"


# -- representations that the file does not say ------------------------------------------------------------


def test_asks_for_the_representation() -> None:
    form = FORMS["FactorNet with metadata"]
    network = form.network()
    with pytest.raises(CheckpointError) as error:
        recognise(network, form.shapes)
    assert str(error.value) == (
        "the file takes both strands, 'input_1' and 'input_2', and does not say how one is made from the other: got "
        "inputs of shape (6, 40), channels first. Say how ρ acts on it: --input perm:3,2,1,0,4,5 for DNA and 2 "
        "unstranded tracks"
    )


@pytest.mark.parametrize(
    "inputs",
    [("perm:3,2,1,0,4,5",), ("perm:3,2,1,0,4,5", "fixed"), ("perm:3,2,1,0,4,5", "perm:3,2,1,0,4,5", "fixed")],
)
def test_one_for_each_open_or_kept_or_file_input(inputs: tuple[str, ...]) -> None:
    form = FORMS["FactorNet with metadata"]
    siamese = recognise(form.network(), form.shapes, inputs)
    assert isinstance(siamese, Siamese)
    assert tuple(map(str, siamese.conjoined.inputs)) == form.inputs


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        (
            "FactorNet with metadata",
            ("perm:3,2,1,0,4,5", "reversal"),
            "input 'input_3': got reversal; expected fixed, which",
        ),
        ("FactorNet with metadata", ("fixed",) * 4, "got 4; expected 1, one for each of 'input_1'"),
        ("binary: average of logits", ("length",), "input 'x': got length; expected reversal, which is what the file"),
        ("binary: average of logits", ("perm:3,2,1,0,4,5",), "expected reversal"),
        (
            "profile",
            ("reversal", "fixed"),
            "got 2; expected 3, one for each of 'sequence', 'control_logcount', 'control",
        ),
    ],
)
def test_representations_that_do_not_fit(name: str, inputs: tuple[str, ...], message: str) -> None:
    form = FORMS[name]
    with pytest.raises(CheckpointError, match=message):
        recognise(form.network(), form.shapes, inputs)


def test_another_name_of_the_same_representation() -> None:
    form = FORMS["binary: average of logits"]
    assert isinstance(recognise(form.network(), form.shapes, ["perm:3,2,1,0"]), Siamese)


def test_a_pair_of_vectors_is_asked_for() -> None:
    def build(g: Maker) -> Sequence[Ref]:
        x, y = g.input("x"), g.input("y")
        own, other = (g.layer("dense", lambda: nn.Linear(8, 2), v) for v in (x, y))
        return [g.mean(own, other)]

    network = made(build)
    with pytest.raises(CheckpointError, match=r"shape \(8,\), channels first. Say how ρ acts on it: --input reversal"):
        recognise(network, [(8,), (8,)])
    siamese = recognise(network, [(8,), (8,)], ["reversal"])
    assert isinstance(siamese, Siamese)
    confirm(siamese, network)


def test_tokens() -> None:
    def build(g: Maker) -> Sequence[Ref]:
        def run(x: Ref) -> Ref:
            h = g.swap(g.layer("embedding", lambda: nn.Embedding(5, 4), x))
            return scores(g, h)

        return [g.mean(run(g.input("x")), run(g.input("y")))]

    network = made(build)
    siamese = recognise(network, [(20,), (20,)], ["tokens:3,2,1,0,4"])
    assert isinstance(siamese, Siamese)
    confirm(siamese, network)
    x = torch.randint(5, (3, 20), generator=torch.Generator().manual_seed(0))
    same(siamese.conjoined(x), network(x, torch.tensor([3, 2, 1, 0, 4])[x.flip(1)]))


# -- what is not siamese ------------------------------------------------------------------------------------

Build = Callable[[Maker], Sequence[Ref]]
NEAR: dict[str, tuple[Build, tuple[tuple[int, ...], ...], str | None]] = {}


def near(name: str, shapes: tuple[tuple[int, ...], ...], reason: str | None) -> Callable[[Build], Build]:
    def register(build: Build) -> Build:
        NEAR[name] = (build, shapes, reason)
        return build

    return register


DNA = ((4, 20),)


def with_other_dense(g: Maker, x: Ref, path: str) -> Ref:
    h = g.relu(g.layer("conv", lambda: nn.Conv1d(4, 3, 5), x))
    return g.layer(path, lambda: nn.Linear(48, 2), g.call("torch.flatten", h, 1))


@near("a network of one strand", DNA, None)
def _(g: Maker) -> Sequence[Ref]:
    return [g.sigmoid(scores(g, g.input("x")))]


@near("residual, with a mean of two ways", DNA, None)
def _(g: Maker) -> Sequence[Ref]:
    x = g.layer("a", lambda: nn.Conv1d(4, 4, 3, padding=1), g.input("x"))
    return [g.mean(x, g.layer("b", lambda: nn.Conv1d(4, 4, 3, padding=1), x))]


@near("no weights shared at all", ((4, 20), (4, 20)), None)
def _(g: Maker) -> Sequence[Ref]:
    x, y = g.input("x"), g.input("y")
    a = g.layer("a", lambda: nn.Conv1d(4, 4, 3), x)
    return [g.mean(a, g.layer("b", lambda: nn.Conv1d(4, 4, 3), y))]


@near(
    "one layer's weights not shared",
    DNA,
    "layer 'dense1' on the first strand stands beside layer 'dense2'.*other weights",
)
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    return [g.mean(with_other_dense(g, x, "dense1"), with_other_dense(g, g.flip(x, 1, 2), "dense2"))]


@near("merged by subtraction", ((4, 20), (4, 20)), "output '.*' is no mean, sum or maximum of two strands")
def _(g: Maker) -> Sequence[Ref]:
    return [g.call("operator.sub", scores(g, g.input("x")), scores(g, g.input("y")))]


@near("merged by concatenation", ((4, 20), (4, 20)), "output '.*' is no mean, sum or maximum of two strands")
def _(g: Maker) -> Sequence[Ref]:
    both = g.call("torch.cat", [scores(g, g.input("x")), scores(g, g.input("y"))], 1)
    return [g.layer("head", lambda: nn.Linear(4, 1), both)]


@near("weights of the strands differ in the sum", ((4, 20), (4, 20)), "has other arguments|stands beside")
def _(g: Maker) -> Sequence[Ref]:
    a, b = scores(g, g.input("x")), scores(g, g.input("y"))
    return [g.call("operator.add", g.call("operator.mul", a, 0.5), g.call("operator.mul", b, 0.25))]


@near("stacked on one axis, averaged over another", DNA, "no mean, sum or maximum")
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    return [g.call("torch.mean", g.call("torch.stack", [scores(g, x), scores(g, g.flip(x, 1, 2))], 0), 2)]


@near(
    "one layer more on one strand", DNA, r"step 'relu.*' \(torch.relu\) on the first strand stands beside layer 'dense'"
)
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    return [g.mean(g.relu(scores(g, x)), scores(g, g.flip(x, 1, 2)))]


@near("one layer more on the other strand", DNA, "layer 'dense' on the first strand stands beside step 'relu")
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    return [g.mean(scores(g, x), g.relu(scores(g, g.flip(x, 1, 2))))]


@near("another slope on one strand", ((4, 20), (4, 20)), "has other arguments on the first strand")
def _(g: Maker) -> Sequence[Ref]:
    a, b = (g.call("F.leaky_relu", scores(g, g.input(n)), s) for n, s in (("x", 0.1), ("y", 0.2)))
    return [g.mean(a, b)]


@near(
    "one strand pooled by another layer", ((4, 20), (4, 20)), "layer 'p1' on the first strand stands beside layer 'p2'"
)
def _(g: Maker) -> Sequence[Ref]:
    def run(x: Ref, path: str, size: int) -> Ref:
        h = g.layer("conv", lambda: nn.Conv1d(4, 3, 5), x)
        return g.layer(path, lambda: nn.MaxPool1d(size, 1, 1), h)

    return [g.mean(run(g.input("x"), "p1", 3), run(g.input("y"), "p2", 2))]


@near("the other strand reads a hidden value of the first", DNA, "stands beside")
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    own, other = (g.layer("embed", lambda: nn.Conv1d(4, 4, 3, padding=1), y) for y in (x, g.flip(x, 1, 2)))
    return [g.mean(scores(g, own), scores(g, g.call("operator.add", own, other)))]


@near("both strands read one hidden value", DNA, "input 'x' is turned for the second strand, and is read as it is too")
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    own, other = (g.layer("embed", lambda: nn.Conv1d(4, 4, 3, padding=1), y) for y in (x, g.flip(x, 1, 2)))
    a, b = g.call("operator.add", own, own), g.call("operator.add", other, own)
    return [g.mean(scores(g, a), scores(g, b))]


@near("both inputs on both strands", ((4, 20), (4, 20)), "both strands read input 'x'|becomes")
def _(g: Maker) -> Sequence[Ref]:
    x, y = g.input("x"), g.input("y")
    a, b = g.call("operator.sub", x, y), g.call("operator.sub", y, x)
    return [g.mean(scores(g, a), scores(g, b))]


@near("one value merged with itself", DNA, "merges a value with itself: both strands are one")
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    return [g.mean(scores(g, x), scores(g, x))]


@near("one output not merged", DNA, "no mean, sum or maximum")
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    own = scores(g, x)
    return [g.mean(own, scores(g, g.flip(x, 1, 2))), own]


@near("the final step reads one strand", DNA, "no mean, sum or maximum|stands beside")
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    own = scores(g, x)
    return [g.call("operator.mul", g.mean(own, scores(g, g.flip(x, 1, 2))), own)]


@near("the outputs turn the input differently", ((4, 30), (1,), (2, 20)), "input 'x' is turned in two ways")
def _(g: Maker) -> Sequence[Ref]:
    x, c, t = g.input("x"), g.input("c"), g.input("t")
    counts, tracks = profile(g, x, c, t)
    counts2, _ = profile(g, g.flip(x, 1, 2), c, g.flip(t, 2))
    _, tracks2 = profile(g, g.flip(x, 2), c, g.flip(t, 2))
    return [g.mean(counts, g.flip(counts2, 1)), g.mean(tracks, g.flip(tracks2, 1, 2))]


@near("turned by no involution", DNA, "what becomes of input 'x' on the second strand is no flip or permutation")
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    order = g.tensor("order", torch.tensor([1, 2, 3, 0]))
    return [g.mean(scores(g, x), scores(g, g.call("torch.index_select", x, 1, order)))]


@near("scaled for the other strand", DNA, "what becomes of input 'x' on the second strand is no flip")
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    return [g.mean(scores(g, x), scores(g, g.call("operator.mul", g.flip(x, 1, 2), 2.0)))]


@near("an answer that is rolled", ((4, 30), (1,), (2, 20)), "what is done to the second answer .* is no flip")
def _(g: Maker) -> Sequence[Ref]:
    x, c, t = g.input("x"), g.input("c"), g.input("t")
    _, tracks = profile(g, x, c, t)
    _, tracks2 = profile(g, g.flip(x, 1, 2), c, g.flip(t, 2))
    return [g.mean(tracks, g.call("torch.roll", tracks2, 1, 2))]


@near(
    "a maximum with a sign changed", ((4, 30), (1,), (2, 20)), "is the maximum of an answer and another with its sign"
)
def _(g: Maker) -> Sequence[Ref]:
    x, c, t = g.input("x"), g.input("c"), g.input("t")
    _, tracks = profile(g, x, c, t)
    _, tracks2 = profile(g, g.flip(x, 1, 2), c, g.flip(t, 2))
    return [g.call("torch.maximum", tracks, g.call("torch.neg", g.flip(tracks2, 2)))]


@near("only a part of the input is read", DNA, "only a part of input 'x' is read")
def _(g: Maker) -> Sequence[Ref]:
    x = g.input("x")
    half = [g.call("operator.getitem", v, (slice(None), slice(None), slice(0, 10))) for v in (x, g.flip(x, 1, 2))]
    own, other = (g.layer("conv", lambda: nn.Conv1d(4, 3, 5), v) for v in half)
    return [g.mean(own, other)]


@pytest.mark.parametrize("name", NEAR)
def test_not_recognised(name: str) -> None:
    build, shapes, reason = NEAR[name]
    result = recognise(made(build), shapes, ["reversal"] * len(shapes))
    if reason is None:
        assert result is None
    else:
        assert isinstance(result, NotSiamese), result
        assert re.search(reason, result.reason), result.reason


def test_a_flip_on_the_wrong_axis_in_one_output_is_what_it_is() -> None:
    """Counts turned, the profile turned in length only: not the paper's network, and found as what it is."""

    def build(g: Maker) -> Sequence[Ref]:
        x, c, t = g.input("x"), g.input("c"), g.input("t")
        counts, tracks = profile(g, x, c, t)
        counts2, tracks2 = profile(g, g.flip(x, 1, 2), c, g.flip(t, 2))
        return [g.mean(counts, g.flip(counts2, 1)), g.mean(tracks, g.flip(tracks2, 2))]

    network = made(build)
    siamese = recognise(network, ((4, 30), (1,), (2, 20)))
    assert isinstance(siamese, Siamese)
    assert [str(r) for r in siamese.conjoined.outputs or ()] == ["reversal", "length"]
    confirm(siamese, network)


def test_two_layers_with_equal_weights_are_one() -> None:
    network = made(NEAR["one layer's weights not shared"][0])
    first, second = network.get_submodule("dense1"), network.get_submodule("dense2")
    second.load_state_dict(first.state_dict())
    siamese = recognise(network, DNA)
    assert isinstance(siamese, Siamese)
    assert "layers 'dense1' and 'dense2' hold equal weights and are taken as one" in siamese.notes
    confirm(siamese, network)


# -- shapes that nobody says -------------------------------------------------------------------------------


def test_shapes_found_by_trial() -> None:
    form = FORMS["binary: average of logits"]
    network = form.network()
    siamese = recognise(network)
    assert isinstance(siamese, Siamese)
    assert siamese.shapes is not None
    confirm(siamese, network)


def test_as_conjoined() -> None:
    form = FORMS["FactorNet with metadata"]
    network = form.network()
    read = Imported(network, "Keras", ["a note"], ("a", "b", "m"), ("y",), form.shapes)
    after = as_conjoined(read, form.given)
    assert isinstance(after.model, Conjoined)
    assert after.siamese
    assert after.input_names == ("a", "m")
    assert after.shapes == (form.shapes[0], form.shapes[2])
    assert after.notes[0] == "a note"
    assert len(after.notes) == 5
    assert not read.siamese
    assert read.notes == ["a note"]

    plain = Imported(made(NEAR["a network of one strand"][0]), "Keras", shapes=DNA)
    assert as_conjoined(plain) is plain
    twice = Imported(made(NEAR["merged by subtraction"][0]), "Keras", shapes=((4, 20), (4, 20)))
    noted = as_conjoined(twice, ["reversal"])
    assert noted.model is twice.model
    assert noted.notes[0].startswith("not siamese, though layers are used twice: output ")
    module = Imported(nn.Linear(2, 2), "a module")
    assert as_conjoined(module) is module


def test_confirm_needs_shapes() -> None:
    form = FORMS["two inputs, the second strand first in the merge"]
    network = form.network()
    siamese = found(form, network)
    unknown = Siamese(**{**siamese.__dict__, "shapes": None})
    with pytest.raises(CheckpointError, match="the shapes of the inputs are not known. Give them: --shape"):
        confirm(unknown, network)
    confirm(unknown, network, form.shapes)


# -- random branches ---------------------------------------------------------------------------------------


@st.composite
def drawn_forms(draw: st.DrawFn) -> Form:
    """A random branch, and a random way to turn its input, its answer, and to merge."""
    channels, length = draw(st.integers(2, 5)), draw(st.integers(8, 16))
    layers = draw(st.lists(st.sampled_from(["conv", "relu", "norm", "dropout", "residual", "softmax"]), max_size=4))
    vector, two = draw(st.booleans()), draw(st.booleans())
    tasks, mode = draw(st.integers(2, 4)), draw(st.sampled_from(["mean", "sum", "max"]))
    sign = (lambda r: True) if two else (lambda r: moves(r, channels))
    rho = draw(closed_representations(channels).filter(sign))
    out = draw(closed_representations(tasks).filter(lambda r: mode != "max" or -1 not in (r.signs or ())))
    final = draw(st.sampled_from([None, "sigmoid", "tanh"])) if not out.signs else None

    def branch(g: Maker, x: Ref) -> Ref:
        h = g.layer("first", lambda: nn.Conv1d(channels, 4, 3, padding=1), x)
        for i, kind in enumerate(layers):
            if kind == "conv":
                h = g.layer(f"l{i}", lambda: nn.Conv1d(4, 4, 3, padding="same"), h)
            elif kind == "norm":
                h = g.layer(f"l{i}", lambda: nn.BatchNorm1d(4), h)
            elif kind == "dropout":
                h = g.layer(f"l{i}", nn.Dropout, h)
            elif kind == "residual":
                h = g.mean(h, g.relu(g.layer(f"l{i}", lambda: nn.Conv1d(4, 4, 1), h)))
            else:
                h = g.relu(h) if kind == "relu" else g.call("torch.softmax", h, 1)
        if vector:
            return g.layer("last", lambda: nn.Linear(4 * length, tasks), g.call("torch.flatten", h, 1))
        return g.layer("last", lambda: nn.Conv1d(4, tasks, 1), h)

    def turned(g: Maker, x: Ref, rep: Representation, size: int, rank: int) -> Ref:
        if rep.permutation(size) != tuple(range(size)):
            x = g.call("torch.index_select", x, 1, g.tensor(f"order{size}{rank}", torch.tensor(rep.permutation(size))))
        if rep.signs and -1 in rep.signs:
            signs = torch.tensor(rep.signs, dtype=torch.float64).reshape(-1, *[1] * (rank - 2))
            x = g.call("operator.mul", x, g.tensor(f"signs{size}{rank}", signs))
        return g.flip(x, 2) if rep.reverses_length and rank == 3 else x

    def build(g: Maker) -> Sequence[Ref]:
        x = g.input("x")
        own, other = branch(g, x), branch(g, g.input("y") if two else turned(g, x, rho, channels, 3))
        other = turned(g, other, out, tasks, 2 if vector else 3)
        pairs = {"mean": g.mean, "sum": lambda a, b: g.call("operator.add", a, b)}
        y = pairs.get(mode, lambda a, b: g.call("torch.maximum", a, b))(own, other)
        return [y if final is None else g.call(f"torch.{final}", y)]

    return Form(
        build, ((channels, length),) * (1 + two), (), merge=(mode,), given=(str(rho),) if two else None,
        rho=(lambda x: (x, rc(x, rho))) if two else (lambda x: (x,)), final=(final,),
    )  # fmt: skip


def moves(rep: Representation, channels: int) -> bool:
    x = normal(0, 1, channels, 3)
    return not torch.equal(rc(x, rep), x)


@given(drawn_forms(), seeds)
@settings(max_examples=40)
def test_drawn(form: Form, seed: int) -> None:
    network = form.network(seed)
    siamese = found(form, network)
    assert siamese.conjoined.merge == form.merge
    x = normal(seed, 2, *form.shapes[0])
    assume(network(*form.rho(x)).abs().max() > 0)  # a dead trunk under an answer that changes its sign
    same(siamese.conjoined(x), network(*form.rho(x)))
    conversion = convert(siamese.conjoined, ConvertConfig(input_shapes=form.shapes[:1], verify=False))
    same(conversion.model(x), network(*form.rho(x)))


@given(st.integers(1, 6).flatmap(lambda c: st.tuples(st.just(c), closed_representations(c))), st.integers(1, 5), seeds)
def test_representation_of(drawn: tuple[int, Representation], length: int, seed: int) -> None:
    channels, rep = drawn
    for shape in ((2, channels, length), (2, channels)):
        x = normal(seed, *shape)
        got = representation_of(x, rc(x, rep))
        assert got is not None
        assert torch.equal(rc(x, got), rc(x, rep))
        assert representation_of(x, rc(x, rep) + 1e-9) is None
        assert representation_of(x, rc(x, rep) * 0) is None


def test_what_is_no_representation() -> None:
    x = normal(0, 2, 3, 4)
    assert representation_of(x, x.roll(1, 1)) is None
    assert representation_of(x, x.roll(1, 2)) is None
    assert representation_of(x, torch.relu(x)) is None
    assert representation_of(x, x[:, :2]) is None
    assert representation_of(x[0, 0], x[0, 0]) is None
    assert representation_of(x, torch.cat([x[:1], x[1:].flip(2)])) is None
    assert on_the_other_strand(x, x[:, :2], x[:, 2:]) is None
    assert on_the_other_strand(x, torch.relu(x), x) is None
    assert on_the_other_strand(x, x[:, [0, 0]], x[:, [1, 2]]) is None
    shown = on_the_other_strand(x, -x[:, :1], x[:, 1:2].flip(2))
    assert shown is not None
    assert torch.equal(shown[:, :1], -x[:, 1:2].flip(2))
    assert shown[:, 1:].isnan().all()


# -- mutants -------------------------------------------------------------------------------------------------


def caught(names: Sequence[str] = tuple(FORMS)) -> bool:
    for name in names:
        try:
            check(FORMS[name])
        except (AssertionError, VerificationError, CheckpointError):
            return True
    return False


def ignoring_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "representation_of", lambda x, y: representation("fixed"))


def swapping_merges(monkeypatch: pytest.MonkeyPatch) -> None:
    right = recognition.merge_of
    other = {"mean": "max", "max": "mean", "sum": "sum"}

    def wrong(view: Any, name: str) -> Any:
        merge = right(view, name)
        return merge and (other[merge[0]], *merge[1:])

    monkeypatch.setattr(recognition, "merge_of", wrong)


def dropping_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    right = recognition.merge_of

    def wrong(view: Any, name: str) -> Any:
        merge = right(view, name)
        return merge and ("sum" if merge[0] == "mean" else merge[0], *merge[1:])

    monkeypatch.setattr(recognition, "merge_of", wrong)


def dropping_finals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "_final", lambda *_: None)


def length_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "representation_of", lambda x, y: representation("length"))


def fixing_partners(monkeypatch: pytest.MonkeyPatch) -> None:
    right = making.make

    def wrong(*args: Any) -> Siamese:
        found = right(*args)
        return Siamese(**{**found.__dict__, "partners": {b: a for a, b in found.partners.items()}})

    monkeypatch.setattr(recognition, "make", wrong)


@pytest.mark.parametrize(
    "mutate", [ignoring_flips, swapping_merges, dropping_halves, dropping_finals, length_alone, fixing_partners]
)
def test_mutants_are_caught(mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch)
    assert caught()


def any_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "_same_layer", lambda *_: None)


def any_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    right = pairing._alike
    monkeypatch.setattr(pairing, "_alike", lambda a, b, found: right(a, b, found) or True)


def as_it_is_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing.Strands, "check", lambda *_: None)


@pytest.mark.parametrize(
    ("mutate", "name"),
    [
        (any_layer, "one layer's weights not shared"),
        (any_layer, "one strand pooled by another layer"),
        (any_arguments, "another slope on one strand"),
        (as_it_is_too, "both strands read one hidden value"),
    ],
)
def test_a_lax_recogniser_is_caught_twice(
    mutate: Callable[[pytest.MonkeyPatch], None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes what it should not, which the cases above see; and the numerical check refuses its result."""
    mutate(monkeypatch)
    build, shapes, _ = NEAR[name]
    network = made(build)
    siamese = recognise(network, shapes)
    assert isinstance(siamese, Siamese)
    with pytest.raises(VerificationError, match="the siamese graph of the file and the conjoined network it was taken"):
        confirm(siamese, network)


@pytest.mark.parametrize(
    ("mutate", "name"),
    [
        (ignoring_flips, "profile"),
        (swapping_merges, "profile"),
        (dropping_halves, "profile"),
        (dropping_finals, "profile with a final step each"),
        (length_alone, "profile"),
    ],
)
def test_confirm_alone_catches(
    mutate: Callable[[pytest.MonkeyPatch], None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    form = FORMS[name]
    network = form.network()
    siamese = recognise(network, form.shapes)
    assert isinstance(siamese, Siamese)
    with pytest.raises(VerificationError):
        confirm(siamese, network)


def test_factornet_answers_differ_between_strands() -> None:
    """Else an average of two equal answers would hide everything above."""
    form = FORMS["FactorNet"]
    siamese = found(form, form.network())
    (x,) = draw([(6, 40)])
    assert (siamese.branch(x) - siamese.branch(rc(x, form.inputs[0]))).abs().max() > 1e-3


# -- real files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MAX", "E2F1", "GABPA_meta"])
def test_the_real_factornets(name: str, data_dir: Path) -> None:
    """Both strands through the file's graph, against the conjoined network; and their answers do differ."""
    pytest.importorskip("h5py", reason="h5py reads Keras files")
    folder = data_dir / "checkpoints" / f"factornet_{name}"
    options = ReadOptions(architecture=str(folder / "model.json"), arch="factornet")
    read = read_model(folder / "final_model.hdf5", options)
    assert isinstance(read.model, Network)
    found = recognise(read.model, read.shapes, read.inputs)
    assert isinstance(found, Siamese)
    assert found.partners == {0: 1}
    assert tuple(map(str, found.conjoined.inputs)) == (TRACKS, "fixed")[: len(found.inputs)]
    assert found.conjoined.merge == ("mean",)
    assert found.conjoined.final is None
    x = normal(0, 4, 6, 1002).abs()
    x[:, :4] = nn.functional.one_hot(
        torch.randint(4, (4, 1002), generator=torch.Generator().manual_seed(0)), 4
    ).transpose(1, 2)
    meta = [normal(1, 4, 14)] if name == "GABPA_meta" else []
    other = x[:, [3, 2, 1, 0, 4, 5]].flip(2)
    network, conjoined = read.model.double(), found.conjoined
    with torch.no_grad():
        same(conjoined(x, *meta), network(x, other, *meta))
        same(conjoined(x, *meta), conjoined(other, *meta))
        own, turned = found.branch(x, *meta), found.branch(other, *meta)
        assert (own - turned).abs().max() > 1e-3 * own.max()


# -- graphs from hostile files -------------------------------------------------------------------------------


def test_long_graphs_take_no_time() -> None:
    """Ten thousand steps: flips of flips, a deep branch, sums of sums. Nothing here may grow with the square."""

    def flips(g: Maker) -> Sequence[Ref]:
        x = y = g.input("x")
        for _ in range(10_001):
            y = g.flip(y, 1, 2)
        return [g.mean(scores(g, x), scores(g, y))]

    def deep(g: Maker) -> Sequence[Ref]:
        x, y = g.input("x"), g.input("y")
        for _ in range(5_000):
            x, y = g.relu(x), g.relu(y)
        return [g.mean(scores(g, x), scores(g, y))]

    def sums(g: Maker) -> Sequence[Ref]:
        x = scores(g, g.input("x"))
        y = scores(g, g.input("y"))
        for _ in range(5_000):
            x = g.call("operator.add", x, g.relu(x))
        return [g.call("operator.sub", x, y)]

    def many(g: Maker) -> Sequence[Ref]:
        answers = [scores(g, g.input(f"x{i}")) for i in range(100)]
        return [g.mean(answers[0], answers[1])]

    started = time.monotonic()
    assert isinstance(recognise(made(flips), DNA), NotSiamese)
    assert isinstance(recognise(made(deep), DNA * 2), Siamese)
    assert isinstance(recognise(made(sums), DNA * 2), NotSiamese)
    assert recognise(made(many), DNA * 100) is None
    assert time.monotonic() - started < 20
