"""The public strategies: what they draw fits, is closed under ρ, and covers what it should."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, find, given, settings
from torch import Tensor

import rcproof.testing
from rcproof.errors import RcproofError, RepresentationError
from rcproof.strand import Representation, dna, rc, tokens, unstack
from rcproof.testing import (
    DrawnLayer,
    DrawnNetwork,
    conjoined,
    layers,
    networks,
    normal,
    representations,
    seeds,
    sequences,
)
from rcproof.testing.drawn_layers import KINDS as LAYER_KINDS
from rcproof.verify import check_equivariance
from rcproof.verify.inputs import KINDS
from tests import checks

PACKAGE = Path(rcproof.testing.__file__).resolve().parents[1]
slow = [HealthCheck.too_slow, HealthCheck.data_too_large]


@given(st.data(), st.integers(1, 7), seeds)
def test_representations_fit_their_size(data: st.DataObject, channels: int, seed: int) -> None:
    rho = data.draw(representations(channels))
    x = normal(seed, 2, channels, 5)
    assert rc(x, rho).shape == x.shape
    assert torch.equal(rc(rc(x, rho), rho), x)


@pytest.mark.parametrize(
    "wanted", ["reversal", "length", "fixed", "channels", "pairs:2", "dna:ATGC", "perm:1,0,-2,-3", "perm:-0,1,2,3"]
)
def test_every_kind_of_representation_is_drawn(wanted: str) -> None:
    channels = 4
    target = {"dna:ATGC": dna("ATGC")}.get(wanted)
    found = find(
        representations(channels),
        lambda rho: rho == target if target else str(rho) == wanted,
        settings=settings(max_examples=5000, database=None),
    )
    assert isinstance(found, Representation)


@given(st.data(), st.sampled_from(("ACGT", "TGCA", "ACGTN", "NATCG")), st.sampled_from(KINDS))
def test_sequences(data: st.DataObject, alphabet: str, kind: str) -> None:
    x = data.draw(sequences(3, 40, alphabet=alphabet, kinds=(kind,)))
    n, channels, length = x.shape
    assert 1 <= n <= 3
    assert channels == len(alphabet)
    assert 3 <= length <= 40
    assert x.dtype == torch.float64
    assert torch.equal(rc(rc(x, dna(alphabet)), dna(alphabet)), x)
    has_n = "N" in alphabet
    if kind == "one-hot":
        assert (x.sum(1) == 1).all()
        assert not has_n or not x[:, alphabet.index("N")].any()
    if kind == "zeros":
        assert (x[:, alphabet.index("N")] == 1).all() if has_n else not x.any()
    if kind == "uniform" and not has_n:
        assert (x == 0.25).all()
    if kind == "some-n":
        assert ((x == 0) | (x == 1)).all()
        assert (x.sum(1) <= 1).all()


@given(sequences(alphabet="ACGTN", as_tokens=True, batch=2))
def test_sequences_as_tokens(codes: Tensor) -> None:
    assert codes.dtype == torch.long
    assert codes.shape[0] == 2
    assert codes.min() >= 0 and codes.max() <= 4
    assert torch.equal(rc(rc(codes, tokens("ACGTN")), tokens("ACGTN")), codes)


@given(sequences(300, 400, batch=4, dtype=torch.float32, kinds=("some-n",)))
def test_long_sequences(x: Tensor) -> None:
    assert x.dtype == torch.float32
    assert (x.sum(1) <= 1).all()


def test_a_failure_shrinks_to_the_plainest_sequence() -> None:
    """Letters are drawn one by one: the shortest sequence with a C is "C"."""
    found = find(sequences(kinds=("one-hot",)), lambda x: bool(x[:, 1].any()), settings=settings(database=None))
    assert found.shape == (1, 4, 1)


def test_odd_and_even_lengths_and_unknown_bases_are_drawn() -> None:
    for wanted in (  # the shortest of each
        lambda x: x.shape[2] % 2 == 1,
        lambda x: x.shape[2] % 2 == 0,
        lambda x: not x.any(),
        lambda x: 0 < (x.sum(1) == 0).sum() < x.shape[0] * x.shape[2],
    ):
        find(sequences(max_length=8), wanted, settings=settings(database=None, max_examples=2000))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"alphabet": "ACG"}, RepresentationError, "a base order: got 'ACG'"),
        ({"kinds": ("two-hot",)}, RcproofError, r"^kinds of sequences: got \['two-hot'\]; expected one-hot, random"),
        ({"kinds": ()}, RcproofError, r"^kinds of sequences: got none"),
    ],
)
def test_wrong_options_of_sequences(options: dict[str, object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        find(sequences(**options), lambda x: True, settings=settings(database=None))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("kind", LAYER_KINDS)
@settings(max_examples=15)
@given(st.data(), seeds)
def test_layers_are_what_they_say(kind: str, data: st.DataObject, seed: int) -> None:
    """Equivariant, and the lift of the ordinary layer that comes along."""
    drawn: DrawnLayer = data.draw(layers(kind))
    x = drawn.input(seed)
    assert x.shape[1:] == drawn.shape
    checks.equivariance(drawn.layer, x, drawn.source or "reversal", rtol=1e-10)
    if drawn.plain is not None:
        checks.same(drawn.layer, checks.on_each_strand(drawn.plain, drawn.source), x, rtol=1e-10)
    else:
        assert drawn.layer.coupled
        a, b = unstack(x)
        assert a.shape == b.shape


def test_layers_of_one_kind() -> None:
    settings_ = settings(database=None, max_examples=2000)
    assert find(layers("conv", coupled=True), lambda d: d.layer.coupled, settings=settings_).plain is None
    assert find(layers("conv", coupled=False), lambda d: True, settings=settings_).plain is not None
    find(layers(), lambda d: d.source is not None and not d.source.reverses_length, settings=settings_)


@settings(max_examples=15, suppress_health_check=slow)
@given(networks(max_steps=4), seeds)
def test_networks_run_on_what_they_draw(drawn: DrawnNetwork, seed: int) -> None:
    xs = drawn.draw(seed, batch=3)
    assert [tuple(x.shape) for x in xs] == [(3, *shape) for shape in drawn.shapes]
    before = torch.get_rng_state()
    ys = drawn.net(*xs)
    ys = ys if isinstance(ys, tuple) else (ys,)
    assert len(ys) == len(drawn.outputs) == len(drawn.merge)
    assert all(torch.isfinite(y).all() for y in ys)
    assert torch.equal(torch.get_rng_state(), before)
    assert "inputs" in repr(drawn)


@settings(max_examples=15, suppress_health_check=slow)
@given(conjoined(max_steps=4), seeds)
def test_conjoined_networks_are_equivariant(drawn: DrawnNetwork, seed: int) -> None:
    options = {"tolerance": 1e-9, "allow_constant": True}
    assert check_equivariance(drawn.net, drawn.draw(seed), drawn.inputs, drawn.outputs, **options).passed


# -- the package ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", rcproof.testing.__all__)
def test_public_names(name: str) -> None:
    assert name in dir(rcproof.testing)
    assert getattr(rcproof.testing, name) is not None


def test_every_lazy_name_is_public() -> None:
    assert {n for names in rcproof.testing._HOME.values() for n in names} == set(rcproof.testing.__all__)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match=r"module 'rcproof\.testing' has no attribute 'no_such_name'"):
        rcproof.testing.no_such_name  # noqa: B018


@pytest.mark.parametrize(("missing", "name"), [("hypothesis", "sequences"), ("pytest", "RCLayer")])
def test_a_missing_extra_is_named(missing: str, name: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"import rcproof.testing\n"
        f"try:\n    rcproof.testing.{name}\n"
        f"except rcproof.RcproofError as problem:\n    print(problem)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"rcproof.testing.{name} needs {missing}. Pip install 'rcproof[testing]'"


def test_the_functions_need_neither() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = sys.modules['pytest'] = None\n"
        "from rcproof.testing import check_rc_model, check_rc_layer, lift_reference, ChannelsLast, Contract\n"
        "from rcproof.nn import RCPSMaxPool1d\n"
        "from torch import nn\n"
        "known = lift_reference(lambda layer: nn.MaxPool1d(3))\n"
        "print(check_rc_layer(RCPSMaxPool1d(3), [(4, 11)], reference=known).passed)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_only_this_part_imports_hypothesis_and_pytest() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        if path.is_relative_to(PACKAGE / "testing"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names = [name.partition(".")[0] for name in names]
            if {"hypothesis", "pytest"} & set(names) or any(n.startswith("rcproof.testing") for n in names):
                wrong.append(path.name)
    assert not wrong
