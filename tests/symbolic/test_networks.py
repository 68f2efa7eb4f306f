"""The representation theorem of a given network: assembled for real conversions, refused for false ones."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from rcproof.conjoined import Conjoined
from rcproof.convert import ConvertConfig, convert, plain_network
from rcproof.symbolic import networks
from rcproof.symbolic.checker import Refused
from rcproof.symbolic.networks import lemmas_of, node_lemma, prove_network
from rcproof.symbolic.theorems import theorems
from tests.convert.holding import conversion_of
from tests.convert.nets import ZOO


class Branch(nn.Module):
    """Convolutions with a skip, a control track, an LSTM and two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 6, 5)
        self.norm = nn.BatchNorm1d(6)
        self.second = nn.Conv1d(6, 6, 3, padding=1)
        self.profile = nn.Conv1d(8, 2, 3)
        self.lstm = nn.LSTM(6, 4, batch_first=True)
        self.counts = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor, control: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.relu(self.norm(self.first(x)))
        x = x[:, :, 1:-2] + self.second(x)[:, :, 1:-2]
        profile = self.profile(torch.cat([x, control[:, :, : x.shape[2]]], dim=1))
        states, _ = self.lstm(x.transpose(1, 2))
        return profile, self.counts(states.mean(dim=1))


@pytest.fixture(scope="module")
def graph() -> dict[str, Any]:
    net = Conjoined(Branch(), inputs=["reversal", "length"], outputs=["reversal", "fixed"]).eval()
    config = ConvertConfig(input_shapes=[(4, 30), (2, 30)], verify=False)
    return convert(net, config).model.rcproof_graph().to_json()


def test_a_converted_network_is_proved(graph: dict[str, Any]) -> None:
    proof = prove_network(graph)
    strands = [n for n in graph["nodes"] if n["kind"] in ("closed", "stacked")]
    assert len(proof.lemmas) == len(strands) + 2
    assert proof.steps > 3 * len(strands)
    assert proof.labels == ("T1", "T2", "T5")
    assert "for every input x" in proof.statement
    assert {"T5.conv.embedding", "T5.batch_norm", "T5.cat", "T5.crop", "T5.lift", "T5.merge.mean"} <= set(proof.used)


def test_every_lemma_that_a_node_can_name_is_a_statement() -> None:
    known = {s.name for t in theorems(["T1", "T2", "T5"]) for s in t.statements}
    merges = [{"op": "merge", "target": mode} for mode in ("mean", "sum", "max")]
    named = {name for node in (*merges, {"op": "input"}, {"op": "call"}) for name in lemmas_of(node)}
    assert named.union(*networks._STACKED.values()) <= known


def test_a_lemma_that_fails_fails_the_network(graph: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(networks._STACKED, ("cat", "join"), ("T5.no_such_lemma",))
    with pytest.raises(Refused, match="no statement 'T5.no_such_lemma' is known"):
        prove_network(graph)


def tampered(graph: dict[str, Any], name: str, **changes: Any) -> dict[str, Any]:
    found = copy.deepcopy(graph)
    (node,) = [n for n in found["nodes"] if n["name"] == name]
    node.update(changes)
    return found


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("second", {"rule": ""}, "names no lemma"),
        ("second", {"lemma": ""}, "names no lemma"),
        ("lstm", {"stacked": "same"}, "not covered by a lemma of rule 'lifted'"),
        ("lstm", {"stacked": "tied"}, "not covered by a lemma of rule 'lifted'"),
        ("cat", {"stacked": "same"}, "not covered by a lemma of rule 'join'"),  # a plain cat of stacked tensors, T13
        ("getitem", {"stacked": "flatten"}, "not covered by a lemma of rule 'index'"),
        ("relu", {"stacked": "tied"}, "only a layer can be tied"),
        ("relu", {"stacked": "twisted"}, "unknown stacked form"),
    ],
)
def test_false_claims_about_a_node_are_refused(
    graph: dict[str, Any], name: str, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        prove_network(tampered(graph, name, **changes))


def test_a_value_that_skips_the_induction_is_refused(graph: dict[str, Any]) -> None:
    """A node said to be the same for both strands, which it is not."""
    with pytest.raises(Refused, match="said to be free, but reads a value that depends on the strand"):
        prove_network(tampered(graph, "second", kind="free"))
    merge = next(n["name"] for n in graph["nodes"] if n["op"] == "merge")
    with pytest.raises(Refused, match="said to be merged, but reads"):
        prove_network(tampered(graph, merge, op="call", target="torch.relu"))
    late = tampered(graph, "counts", args=[{"ref": merge}])
    late["nodes"].sort(key=lambda n: n["name"] == "counts")
    with pytest.raises(Refused, match="reads a merged value before the merge"):
        prove_network(late)


def test_an_ordinary_network_has_no_such_theorem() -> None:
    net = plain_network(nn.Sequential(nn.Conv1d(4, 2, 3), nn.ReLU()), 1)
    with pytest.raises(Refused, match="no merge of strands"):
        prove_network(net.rcproof_graph().to_json())


def test_lemma_of_a_node() -> None:
    node = {"name": "n", "op": "module", "kind": "stacked", "rule": "conv", "lemma": "T5", "stacked": "tied"}
    assert node_lemma(node) == ("n", "T5", "conv")


@pytest.mark.parametrize("name", ZOO)
def test_every_kind_of_network_that_converts_is_proved(name: str) -> None:
    _, conversion = conversion_of(ZOO[name], verify=False)
    proof = prove_network(conversion.model.rcproof_graph().to_json())
    assert proof.used
