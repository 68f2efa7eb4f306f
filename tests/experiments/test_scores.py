"""Losses and metrics against other people's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import spatial, stats
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from rcproof.experiments.dataset import Action, Split
from rcproof.experiments.scores import Labels, Profiles, jensen_shannon, multinomial_nll, pearson, predict, ranks
from rcproof.models import BinaryNet


@pytest.mark.parametrize("scale", [1.0, 60.0])  # large logits: their sigmoids coincide in float32
def test_labels_against_sklearn(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(300, 3, generator=generator) * scale
    logits[:40] = logits[40:80]  # ties
    labels = (torch.rand(300, 3, generator=generator) < 0.3).to(torch.uint8)
    found = Labels().metrics(logits, Split((torch.zeros(300, 4, 1),), (labels,)))
    y, score = labels.numpy(), logits.double().numpy()
    assert found["auroc"] == pytest.approx(roc_auc_score(y, score), abs=1e-6)
    assert found["auprc"] == pytest.approx(average_precision_score(y, score), abs=1e-6)
    if scale == 1.0:
        p = torch.sigmoid(logits.double()).numpy()
        expected = np.mean([log_loss(y[:, k], p[:, k], labels=[0, 1]) for k in range(3)])
        assert found["loss"] == pytest.approx(expected, rel=1e-5)
        of_probabilities = Labels(probabilities=True).metrics(
            torch.sigmoid(logits), Split((torch.zeros(300, 4, 1),), (labels,))
        )
        assert of_probabilities["loss"] == pytest.approx(expected, rel=1e-5)


def test_other_labels_are_measured_too() -> None:
    logits = torch.tensor([[2.0], [-1.0], [0.5]])
    split = Split((torch.zeros(3, 4, 1),), (torch.tensor([[1], [0], [1]]),), torch.tensor([[0], [1], [0]]))
    found = Labels().metrics(logits, split)
    assert found["auroc"] == 1.0 and found["other_auroc"] == 0.0 and found["other_loss"] > found["loss"]


def test_one_class_has_no_auroc() -> None:
    found = Labels().metrics(torch.zeros(3, 1), Split((torch.zeros(3, 4, 1),), (torch.ones(3, 1),)))
    assert set(found) == {"loss"}


def test_ranks_keep_order_and_ties() -> None:
    scores = torch.tensor([88.0, 88.0000076, 1e-30, -5.0, 88.0])
    found = ranks(scores)
    assert found.argsort().tolist()[:2] == [3, 2] and found[0] == found[4] < found[1]


def test_multinomial_against_torch_and_scipy() -> None:
    counts, logits = torch.tensor([[3.0, 0.0, 2.0], [0.0, 0.0, 0.0]]), torch.tensor([[0.1, -1.0, 2.0], [1.0, 2.0, 3.0]])
    found = multinomial_nll(counts, logits)
    expected = -stats.multinomial.logpmf([3, 0, 2], 5, torch.softmax(logits[0].double(), 0).numpy())
    assert found[0].item() == pytest.approx(expected, rel=1e-5)
    assert found[1].item() == pytest.approx(0.0, abs=1e-6)
    other = -torch.distributions.Multinomial(5, logits=logits[0]).log_prob(counts[0])
    assert found[0].item() == pytest.approx(other.item(), rel=1e-5)


def test_jensen_shannon_against_scipy() -> None:
    p, q = (torch.rand(5, 7, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    p, q = p / p.sum(1, keepdim=True), q / q.sum(1, keepdim=True)
    expected = [spatial.distance.jensenshannon(a, b, base=2) ** 2 for a, b in zip(p.numpy(), q.numpy(), strict=True)]
    assert jensen_shannon(p, q).tolist() == pytest.approx(expected, rel=1e-4)


def test_pearson_against_numpy() -> None:
    a, b = torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(1))
    expected = [np.corrcoef(x, y)[0, 1] for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    assert pearson(a, b).tolist() == pytest.approx(expected, rel=1e-4)
    assert pearson(torch.zeros(1, 4), torch.ones(1, 4)).item() == 0.0


def test_profile_loss_by_hand() -> None:
    objective = Profiles(stranded=True, counts_weight=2.0)
    counts, profile = torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2, 4)
    observed = torch.tensor([[[1.0, 0, 0, 0], [0, 2.0, 0, 1.0]]])
    # One count in four places: log 4. Three counts: −log(3 · 4⁻³).
    nll = np.log(4) - np.log(3 * 4.0**-3)
    error = ((1 - np.log(2)) ** 2 + (2 - np.log(4)) ** 2) / 2
    assert objective.loss((counts, profile), (observed,)).item() == pytest.approx(nll + 2 * error, rel=1e-5)


def test_unstranded_reads_the_mean_of_the_channels() -> None:
    objective = Profiles(stranded=False, counts_weight=1.0)
    counts, profile = objective.read((torch.tensor([[1.0, 3.0]]), torch.tensor([[[0.0, 2.0], [4.0, 0.0]]])))
    assert counts.tolist() == [[2.0]] and profile.tolist() == [[[2.0, 1.0]]]


def test_predict_of_the_other_strand() -> None:
    net = BinaryNet(length=101, filters=2).eval()
    x = torch.nn.functional.one_hot(torch.randint(0, 4, (7, 101)), 4).transpose(1, 2).to(torch.uint8)
    split, action = Split((x,), (torch.zeros(7, 1),)), Action.of(("reversal",), ("fixed",))
    with torch.no_grad():
        turned = net(torch.flip(x, (1, 2)).float())
    assert torch.allclose(predict(net, split, batch=3, reverse=action), turned, atol=1e-6)
    assert not torch.allclose(predict(net, split), turned, atol=1e-6)
