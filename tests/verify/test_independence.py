import pytest
import torch
from torch import nn

from rcproof.errors import ShapeError
from rcproof.strand import tokens
from rcproof.verify import check_independence, draw_inputs
from tests.verify.models import Applied, Both, Function, OnePass, Profile, Score, Tokens, TwoHeads


def inputs(**options):
    return list(draw_inputs([(4, 40)], "reversal", **options))


@pytest.mark.parametrize(
    "net", [Profile(), Score(), Both(Profile()), OnePass(Profile())], ids=lambda n: type(n).__name__
)
def test_ordinary_networks_pass(net):
    report = check_independence(net, inputs(batch=3))
    report.raise_if_failed()
    assert "one-hot: gradient of output by input 0 of other examples" in {c.name for c in report.checks}


def test_recurrent_attention_and_tokens():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(4, 3, batch_first=True, bidirectional=True)
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x):
            h = self.lstm(x.transpose(1, 2))[0]
            return self.attention(h, h, h)[0].mean(1)

    assert check_independence(Mixed(), inputs(kinds=["one-hot", "random"])).passed
    assert check_independence(TwoHeads(), list(draw_inputs([(4, 40), (2, 40)], ["reversal", "length"]))).passed
    assert check_independence(Tokens(), list(draw_inputs([(30,)], tokens()))).passed


def batch_attention():
    attention = nn.MultiheadAttention(4, 1)  # batch_first forgotten: the batch is taken for the sequence
    return Function(lambda x: attention.double()(*[x.transpose(1, 2)] * 3)[0])


@pytest.mark.parametrize(
    ("net", "text"),
    [
        (Applied(Score(), lambda y: y - y.mean(0)), "examples alone"),
        (Applied(Score(), lambda y: y.softmax(0)), "examples alone"),
        (nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False), Score()), "examples alone"),
        (Applied(Score(), lambda y: y + 1e-14 * y.roll(1, 0)), "one example's output moves with another's input"),
        (Applied(Score(), lambda y: y + torch.arange(len(y))[:, None]), "examples alone"),
        (Applied(Score(), lambda y: y.squeeze()), "one row of the batch, () of a batch of one"),
        (Applied(Score(), lambda y: y.mean()), "shape () for a batch of 4, whose first axis it lacks"),
        (Applied(Score(), lambda y: y.T), "shape (1, 4) for a batch of 4, whose first axis it lacks"),
        (Applied(Score(), lambda y: y * float("nan")), "not finite"),
        (batch_attention(), "examples alone"),
    ],
)
def test_mixing_is_found(net, text):
    report = check_independence(net, inputs(kinds=["random"]))
    assert not report.passed
    assert text in " ".join(map(str, report.failures))


def test_a_batch_of_one_shows_nothing():
    with pytest.raises(ShapeError) as error:
        check_independence(Profile(), inputs(batch=1))
    assert str(error.value) == "batch of case 'one-hot': got 1; expected at least 2 examples to tell apart"
