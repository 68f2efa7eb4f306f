"""Each field of a certificate changed, and single bits of weights: rejected, or provably nothing is changed.

Somebody who changes a file can make all its digests anew, so none of them is relied on: see ``forging``. A mutant that
the checker accepts must change one of the FREE fields only, and the network in the file must still be, by numbers, the
one that the certificate describes, which :func:`tests.checking.forging.described` builds with code of its own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rcproof.checking.check import check_file
from rcproof.checkpoints import save
from rcproof.conjoined import Conjoined
from rcproof.convert import ConvertConfig, convert
from rcproof.convert.coupling import couple_conversion
from rcproof.convert.source import describe_source
from rcproof.models import BinaryNet, ProfileNet
from tests.checking.forging import Forged, accepted, agree
from tests.convert import holding
from tests.convert.nets import ZOO

SEED = 20240607

#: Fields that may be changed, as they say nothing of what the network computes in eval mode.
FREE = {
    # what the converter was, and what its numerical checks gave
    r"certificate\.versions(\..*)?": "of the machine that converted",
    r"certificate\.checks(\..*)?": "numbers of the converter; the certificate does not rest on them",
    # how it runs and trains
    r"net\.layout": "the three layouts are one function (T1)",
    r"(transient|frozen)(\..*)?": "what a state dict holds, and what is trained",
    r"net\.layers\.[^/]*\.args\.masks": "masks in training",
    r"certificate\.source\.layers\.[^/]*\.args\.inplace": "the graph says who reads what",
    # for which shapes the side conditions are derived
    r"input_shapes(\..*)?": "they hold for the shapes that are stated, whatever these are",
    # another proof of the same claims
    r"certificate\.proof\..*": "the steps are replayed",
    # an argument that is not given has its default, as in the constructors of torch
    r"(net|certificate\.source)\.layers\.[^.]*\.args(\.[a-z_]*)?": "left out, it has the value that it had",
    r"net\.layers\.[^.]*\.args\.source": "left out, the layer reads the pair (x, ρx), which a closed input is (T1)",
    # which of its forms a step runs in, and the order in which lists name things
    r"net\.graph\.nodes\.\d*\.stacked": "left out, it runs in the batch, where every step is its own lift (T2)",
    r"certificate\.tensors|certificate\.lifted|buffers": "in any order",
}  # fmt: skip


class Lifts(nn.Module):
    """A convolution, an LSTM and attention over its states, which run whole, and a track that is added."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.lstm = nn.Conv1d(4, 6, 5), nn.MaxPool1d(2), nn.LSTM(6, 3, batch_first=True)
        self.attention, self.dense = nn.MultiheadAttention(3, 1, batch_first=True), nn.Linear(3, 2)
        self.position, self.drop = nn.Parameter(torch.randn(1, 8, 3)), nn.Dropout(0.25)

    def forward(self, x: Tensor, track: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.relu(self.pool(self.conv(x))) + track
        out, _ = self.lstm(h.transpose(1, 2))
        mixed, _ = self.attention(out, out, out, need_weights=False)
        y = (mixed + self.position).softmax(dim=-1)
        return self.dense(self.drop(y).mean(1)), h[:, :, 1:-1]


def binary() -> tuple[Conjoined, Any]:
    torch.manual_seed(1)
    net = BinaryNet(length=80, filters=4, tasks=2, pool_size=20, pool_stride=10)
    return Conjoined(net, final="sigmoid"), ConvertConfig(verify=False)


def bpnet() -> tuple[Conjoined, Any]:
    torch.manual_seed(2)
    net = ProfileNet(length=60, filters=3, dilated_layers=2, conv_kernel_size=5, profile_kernel_size=7)
    return Conjoined(net, ("reversal", "fixed", "length"), "reversal"), ConvertConfig(verify=False)


def lifts() -> tuple[Conjoined, Any]:
    torch.manual_seed(3)
    net = Conjoined(
        Lifts(), ("reversal", "length"), ("fixed", "reversal"), ("mean", "max"), ("sigmoid", None)
    )  # fmt: skip
    return net, ConvertConfig(input_shapes=[(4, 20), (1, 8)], verify=False)


def coupled() -> tuple[Conjoined, Any]:
    return holding.conjoin(ZOO["Basset"], ZOO["Basset"].build()), ZOO["Basset"].config(verify=False)


NETWORKS: dict[str, Callable[[], tuple[Conjoined, Any]]] = {
    "binary": binary, "BPNet": bpnet, "lifts": lifts, "coupled": coupled,
}  # fmt: skip


@pytest.fixture(scope="module", params=NETWORKS)
def honest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Forged, Path, Any]:
    """A file that proves itself, taken apart; where to write others; and its source."""
    model, config = NETWORKS[request.param]()
    model = model.double().eval()
    conversion = convert(model, config)
    if request.param == "coupled":
        conversion = couple_conversion(conversion, "4,9")
    path = tmp_path_factory.mktemp("honest") / "a.safetensors"
    save(conversion, path)
    described = describe_source(model, len(conversion.certificate.inputs))
    assert check_file(path, described).passed
    return Forged.of(path), path, described


# -- fields -----------------------------------------------------------------------------------------------------------


def walk(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value in a document, containers too, with the way to it."""
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from walk(item, (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from walk(item, (*path, i))


def field(path: tuple[Any, ...]) -> str:
    """A way with names of its own, to match against FREE."""
    return ".".join(str(key).replace(".", "·") for key in path)


def kind(path: tuple[Any, ...], value: Any) -> str:
    """Fields of one kind: without numbers and names of layers and steps. Of steps, by what they call."""
    names = [k for k in path if isinstance(k, str) and re.fullmatch(r"[a-z_]+2?5?6?", k)]
    return ".".join(names) + f":{type(value).__name__}"


def variants(document: Any, path: tuple[Any, ...], value: Any, draw: random.Random) -> list[Any]:
    """Other values for one field; ``...`` takes it away."""
    siblings = [v for p, v in walk(document) if p[-1:] == path[-1:] and v != value and not isinstance(v, dict | list)]
    if isinstance(value, bool):
        found: list[Any] = [not value, int(value), None]
    elif isinstance(value, int | float):
        found = [value + 1, value - 1, -value - 1, value * 2.5, str(value), True, None]
    elif isinstance(value, str):
        found = [value + "x", "", value[:-1], 7, None, [value]]
    elif value is None:
        found = [0, "x", {}, []]
    elif isinstance(value, list):
        found = [value[1:], value[:-1], [*value, *value[:1]], value[::-1], {}, None]
    else:
        found = [dict(list(value.items())[1:]), {**value, "more": 1}, [], None]
    found += draw.sample(siblings, min(3, len(siblings)))
    if path and isinstance(path[-1], str):
        found.append(...)
    same = [v for v in found if v is ... or v != value or type(v) is not type(value)]
    return draw.sample(same, min(1, len(same)))


def put(document: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        document = document[key]
    if value is ...:
        del document[path[-1]]
    else:
        document[path[-1]] = value


def drawn(document: dict[str, Any], seed: int, most: int) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Mutations of fields of every kind, a few each."""
    draw = random.Random(seed)
    kinds: dict[str, list[tuple[tuple[Any, ...], Any]]] = {}
    for path, value in walk(document):
        if path:
            kinds.setdefault(kind(path, value), []).append((path, value))
    for found in kinds.values():
        for path, value in draw.sample(found, min(most, len(found))):
            for other in variants(document, path, value, draw):
                yield path, other


def is_free(name: str, other: Any) -> bool:
    """Whether a field is a free one; some may only be left out."""
    found = [pattern for pattern in FREE if re.fullmatch(pattern, name)]
    left_out = re.search(r"\.args\.[a-z_]*$|\.stacked$", name) and not name.endswith((".inplace", ".masks"))
    gone = other is None if name.endswith(".source") else other is ...
    return bool(found) and (gone or not left_out)


def test_fields(honest: tuple[Forged, Path, Any]) -> None:
    forged, path, _ = honest
    count, free = 0, 0
    for where, other in drawn(forged.document, SEED, 1):
        mutant = forged.copy()
        put(mutant.document, where, other)
        mutant.write(path)
        count += 1
        if accepted(path):
            free += 1
            name = field(where)
            assert is_free(name, other), f"{name} = {other!r} is accepted"
            assert agree(path, mutant, draws=1), f"{name} = {other!r} changes the function"
    assert count > 100
    assert free < count / 4


# -- weights ----------------------------------------------------------------------------------------------------------


def flipped(body: bytes, bit: int) -> bytes:
    data = bytearray(body)
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


def test_single_bits(honest: tuple[Forged, Path, Any]) -> None:
    """With the file's digests made anew it is still not the source's tensor; with all of them, not this source's."""
    forged, path, described = honest
    draw = random.Random(SEED)
    for name in draw.sample(list(forged.tensors), 6):
        dtype, shape, body = forged.tensors[name]
        mutant = forged.copy()
        mutant.tensors[name] = dtype, shape, flipped(body, draw.randrange(8 * len(body)))
        assert not accepted(mutant.write(path))
        mutant.rehash(source=False)
        assert not accepted(mutant.write(path))
        mutant.rehash()
        assert not accepted(path, described)
        mutant.write(path)
        if accepted(path):  # a file of another network, which is what it says
            assert not accepted(path, described)
            assert agree(path, mutant, draws=1)
        else:
            assert any(row["how"] == "copy+zero" for row in mutant.certificate["tensors"])


def test_tensors_swapped_renamed_and_lost(honest: tuple[Forged, Path, Any]) -> None:
    forged, path, described = honest
    draw = random.Random(SEED)
    names = list(forged.tensors)
    for _ in range(3):
        one, two = draw.sample(names, 2)
        for change in ("swap", "rename", "lose", "double", "alias"):
            mutant = forged.copy()
            if change == "swap":
                mutant.tensors[one], mutant.tensors[two] = mutant.tensors[two], mutant.tensors[one]
            elif change == "rename":
                mutant.tensors = {k + "x" * (k == one): raw for k, raw in mutant.tensors.items()}
            elif change == "lose":
                del mutant.tensors[one]
            elif change == "double":
                mutant.tensors[one + ".more"] = mutant.tensors[one]
            else:
                del mutant.tensors[one]
                mutant.document["aliases"][one] = two
            assert not accepted(mutant.write(path), described) or mutant.tensors == forged.tensors
            mutant.rehash()
            if accepted(mutant.write(path)):
                assert agree(path, mutant, draws=1)
                assert not accepted(path, described) or mutant.tensors[one][2] == forged.tensors[one][2]
