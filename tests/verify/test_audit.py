import io
import json
import math

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from rcproof.errors import RcproofError, RepresentationError, ShapeError
from rcproof.strand import rc
from rcproof.verify import audit, draw_inputs
from tests.verify.models import Applied, Both, Function, Profile, Score, TwoHeads


def x(n=20, length=40, seed=0):
    (case,) = draw_inputs([(4, length)], "reversal", kinds=["one-hot"], batch=n, seed=seed)
    return case.tensors[0]


def test_numbers_against_numpy():
    net, seqs = Score(tasks=2).double().eval(), x()
    (found,) = audit(net, seqs, "reversal", "fixed", batch_size=7).outputs
    with torch.no_grad():
        a, b = net(seqs).numpy(), net(rc(seqs)).numpy()
    d = np.abs(a - b)
    assert found.kind == "logit"
    assert found.inferred
    assert found.shape == (20, 2)
    np.testing.assert_allclose(found.max_difference, d.max())
    np.testing.assert_allclose(found.mean_difference, d.mean())
    np.testing.assert_allclose(found.relative_max, d.max() / np.abs(a).max())
    np.testing.assert_allclose(found.flipped_share, ((a > 0) != (b > 0)).mean())
    np.testing.assert_allclose(found.pearson, np.corrcoef(a.ravel(), b.ravel())[0, 1])
    assert found.worst_example == d.max(1).argmax()
    assert found.worst_name == f"inputs #{found.worst_example}"
    assert found.jsd_mean is None


def jsd_bits(p, q):
    m = (p + q) / 2
    kl = lambda u, v: sum(a * math.log2(a / b) for a, b in zip(u, v, strict=True) if a > 0)  # noqa: E731
    return (kl(p, m) + kl(q, m)) / 2


def test_profiles_against_a_loop():
    net, seqs = Profile().double(), x(3)
    (found,) = audit(net, seqs, "reversal", "reversal").outputs
    with torch.no_grad():
        p, q = net(seqs).softmax(2).numpy(), rc(net(rc(seqs))).softmax(2).numpy()
    each = [jsd_bits(p[n, c], q[n, c]) for n in range(3) for c in range(2)]
    assert found.kind == "profile"
    np.testing.assert_allclose([found.jsd_mean, found.jsd_max], [np.mean(each), max(each)])
    assert found.flipped_share is None
    done = audit(Applied(net, lambda y: y.softmax(2)), seqs, "reversal", "reversal").outputs[0]
    np.testing.assert_allclose(done.jsd_mean, found.jsd_mean)  # normalised already: no second softmax
    counts = audit(Applied(net, lambda y: 50 * y.softmax(2)), seqs, "reversal", "reversal", kinds="counts").outputs[0]
    np.testing.assert_allclose(counts.jsd_mean, found.jsd_mean)


def test_opposite_profiles_are_one_bit_apart():
    step = Function(lambda v: nn.functional.one_hot(torch.zeros(len(v), 1).long(), v.shape[2]).double())
    (found,) = audit(step, x(2), "reversal", "length").outputs
    assert found.jsd_max == pytest.approx(1.0)


def test_symmetric_networks():
    report = audit(Both(Profile()), x(), "reversal", "reversal")
    assert report.symmetric()
    assert report.outputs[0].pearson == pytest.approx(1)
    assert not audit(Profile(), x(), "reversal", "reversal").symmetric()
    assert not audit(Both(Profile()), x(), "reversal", "length").symmetric()


def test_flipped_probabilities():
    always = Function(lambda v: torch.sigmoid(4 * (v[:, :2].mean((1, 2)) - v[:, 2:].mean((1, 2))))[:, None])
    seqs = torch.zeros(10, 4, 8, dtype=torch.float64)
    seqs[:, 0] = 1  # all A, whose other strand is all T
    (found,) = audit(always, seqs, "reversal", "fixed").outputs
    assert (found.kind, found.flipped_share) == ("score", 1.0)
    assert audit(always, seqs, "reversal", "fixed", kinds="counts").outputs[0].flipped_share is None


def test_several_outputs_names_and_json():
    cases = list(draw_inputs([(4, 40), (2, 40)], ["reversal", "length"], batch=3))
    names = [f"chr{i}" for i in range(15)]
    report = audit(
        TwoHeads(), cases, ["reversal", "length"], ["reversal", "fixed"], kinds=["profile", "counts"], names=names
    )
    assert report.examples == 15
    assert [o.name for o in report.outputs] == ["output.profile", "output.counts"]
    assert report.outputs[1].worst_name in names
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert found["outputs"][0]["representation"] == "reversal"
    assert found["outputs"][0]["shape"] == [15, 2, 31]
    out = io.StringIO()
    report.print(Console(file=out, width=200))
    for text in (out.getvalue(), str(report)):
        assert "output.profile" in text
        assert "JSD in bits, mean" in text
        assert "outputs: reversal, fixed" in text


def test_not_finite():
    def some_nan(v):
        y = v.mean((1, 2))[:, None] + v[:, :1, 0]
        return torch.where(torch.arange(len(v))[:, None] == 1, math.nan, y)

    (found,) = audit(Function(some_nan), x(5), "reversal", "fixed").outputs
    assert found.not_finite == 1
    assert math.isfinite(found.max_difference)
    assert found.worst_example != 1
    report = audit(Function(lambda v: v * math.nan), x(5), "reversal", "reversal")
    assert report.outputs[0].not_finite == 5
    assert not report.symmetric()
    json.dumps(report.to_dict(), allow_nan=False)
    assert "not finite for 5 examples" in str(report)


def test_constants_have_no_correlation():
    constant = audit(Function(lambda v: torch.full((len(v), 1), 0.3)), x(), "reversal", "fixed").outputs[0]
    assert constant.pearson is None
    assert constant.relative_max == 0


def test_the_model_is_not_changed():
    net = Score().train()
    audit(net, x(), "reversal", "fixed")
    assert net.training
    assert net.conv.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("net", "options", "error", "text"),
    [
        (Score(), {"names": ["a"]}, RcproofError, "names of the examples: got 1; expected 20, one for each example"),
        (
            Score(),
            {"kinds": "odds"},
            RcproofError,
            "kinds of the outputs: got odds; expected 1 of score, logit, classes, value, counts, log-counts, profile",
        ),
        (Score(), {"batch_size": 0}, RcproofError, "batch size: got 0; expected at least 1"),
        (
            Applied(Score(), lambda y: y.mean()),
            {},
            ShapeError,
            "output of a batch of 20: got shape (); expected the batch as first axis",
        ),
        (
            Applied(Score(), lambda y: (y, y)),
            {},
            RepresentationError,
            "representations of the outputs: got 1 (fixed); expected 2, one for each output",
        ),
        (
            Applied(Profile(), lambda y: y - 9),
            {"kinds": "counts"},
            RcproofError,
            "counts along positions must not be negative. Audit this output as a profile",
        ),
    ],
)
def test_mistakes(net, options, error, text):
    with pytest.raises(error) as caught:
        audit(net, x(), "reversal", "fixed", **options)
    assert str(caught.value) == text


def test_a_model_that_does_not_run():
    with pytest.raises(
        RcproofError, match=r"the model does not run on inputs of shape \(20, 4, 40\): got RuntimeError"
    ):
        audit(nn.Conv1d(3, 1, 1), x(), "reversal", "reversal")


def test_one_length_at_a_time():
    cases = [c for n in (30, 40) for c in draw_inputs([(4, n)], "reversal", kinds=["one-hot"])]
    with pytest.raises(ShapeError, match=r"expected one shape\. Audit one length at a time"):
        audit(Profile(), cases, "reversal", "reversal")
