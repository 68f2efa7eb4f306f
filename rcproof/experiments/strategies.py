"""What is trained, what is only evaluated, and what starts from what.

A strategy names a network of :func:`rcproof.models.build` and how it is used:

- **trained**: from scratch, without or with RC augmentation;
- **evaluated**: the weights of a base run, conjoined post hoc; nothing is trained;
- **started**: the weights of a base run go on training for a fixed number of epochs. The question it answers is whether
  RCPS that starts as the converted post-hoc conjoined network is better than it. Its controls train equally many steps
  on equally many strands: the conjoined network itself, and the standard network with augmentation.

Where two strategies are one network with one set of initial weights, :func:`twin` says so, and only one is run.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.conjoined import Conjoined
from rcproof.errors import RcproofError
from rcproof.models import BranchNet, build, conjoin, coupled_layers
from rcproof.models.strategies import TASKS
from rcproof.nn.base import TiedLayer
from rcproof.nn.couple import couple, split_weight

KINDS = ("trained", "evaluated", "started")
#: What the post-hoc forms and the warm starts begin with: the paper makes the augmented network conjoined.
BASE = "standard-aug"


@dataclass(frozen=True)
class Strategy:
    """One way to treat the strands.

    Attributes:
        network: the strategy of :func:`rcproof.models.build`.
        options: further arguments of it (``pooling``), or of the conjoined network (``merge``).
        augment: whether the reverse complements are trained on too.
        base: the strategy whose weights it evaluates or starts from.
        sigmoid: merge probabilities, not logits.
        freed: of a warm start, what is trained: ``all`` or ``cross`` (the cross-strand weights alone).
        tasks: the networks that it is for.
        equal_parameters: the width is chosen so that the parameters are as many as those of ``cj-rcps-all``.
        paper: its name in the paper's tables.
    """

    name: str
    kind: str
    network: str
    about: str
    options: dict[str, Any] = field(default_factory=dict)
    augment: bool = False
    base: str | None = None
    sigmoid: bool = False
    freed: str = "all"
    tasks: tuple[str, ...] = ("simulated", "binary", "profile")
    equal_parameters: bool = False
    paper: str | None = None


_LABELS = ("simulated", "binary")

STRATEGIES: dict[str, Strategy] = {
    s.name: s
    for s in (
        Strategy("standard", "trained", "standard", "one strand", paper="Standard-NoRCAug"),
        Strategy("post-hoc-noaug", "evaluated", "conjoined", "standard, conjoined after training: mean of logits",
                 base="standard", paper="CJ-posthoc-of-Standard(no aug)"),
        Strategy("post-hoc-noaug-sigmoid", "evaluated", "conjoined", "the same, mean of probabilities",
                 base="standard", sigmoid=True, tasks=_LABELS),
        Strategy("standard-aug", "trained", "standard", "one strand, RC augmentation", augment=True,
                 paper="Standard-RCAug"),
        Strategy("post-hoc", "evaluated", "conjoined", "standard-aug, conjoined after training: mean of logits",
                 base=BASE, paper="CJ-posthoc"),
        Strategy("post-hoc-sigmoid", "evaluated", "conjoined", "the same, mean of probabilities", base=BASE,
                 sigmoid=True, tasks=_LABELS, paper="CJ-posthoc-postsigmoid"),
        Strategy("warm-rcps", "started", "conjoined", "post-hoc, converted and coupled, trained on", base=BASE),
        Strategy("warm-rcps-cross", "started", "conjoined", "the same, cross-strand weights alone", base=BASE,
                 freed="cross"),
        Strategy("warm-conjoined", "started", "conjoined", "post-hoc, trained on as a conjoined network", base=BASE),
        Strategy("warm-standard", "started", "standard", "standard-aug, trained on", base=BASE, augment=True),
        Strategy("warm-post-hoc", "evaluated", "conjoined", "warm-standard, conjoined after training",
                 base="warm-standard"),
        Strategy("conjoined", "trained", "conjoined", "conjoined during training, mean of logits", paper="CJ-trained"),
        Strategy("conjoined-max", "trained", "conjoined", "the same, maximum of logits", options={"merge": "max"},
                 tasks=_LABELS, paper="CJ-trained-max"),
        Strategy("rcps", "trained", "rcps", "every convolution reads both strands; strands summed", paper="RCPS-Sum"),
        Strategy("rcps-mean", "trained", "rcps", "the same, strands averaged", options={"pooling": "mean"},
                 tasks=_LABELS, paper="RCPS-Avg"),
        Strategy("rcps-half", "trained", "rcps-half", "rcps of half the width", paper="RCPS-half"),
        Strategy("cj-rcps-early", "trained", "cj-rcps-early", "the first convolutions one conjoined block",
                 paper="CJRCPS-early"),
        Strategy("cj-rcps-later", "trained", "cj-rcps-later", "the last convolutions one conjoined block",
                 paper="CJRCPS-later"),
        Strategy("cj-rcps-all", "trained", "cj-rcps-all", "all convolutions one conjoined block", paper="CJRCPS-all"),
        Strategy("rcps-equal", "trained", "rcps", "rcps with the parameters of cj-rcps-all", equal_parameters=True),
        Strategy("cj-rcps-early-equal", "trained", "cj-rcps-early", "with the parameters of cj-rcps-all",
                 equal_parameters=True),
        Strategy("cj-rcps-later-equal", "trained", "cj-rcps-later", "with the parameters of cj-rcps-all",
                 equal_parameters=True),
    )
}  # fmt: skip

#: Strategies in the order of the coupling path, by the number of coupled layers.
PATH = ("cj-rcps-all", "cj-rcps-later", "cj-rcps-early", "rcps")


def strategy(name: str) -> Strategy:
    """A strategy by name; raises :class:`~rcproof.errors.RcproofError` for an unknown one."""
    if name not in STRATEGIES:
        raise RcproofError("strategy", got=repr(name), expected=", ".join(STRATEGIES))
    return STRATEGIES[name]


def strategies_of(kind: str) -> list[str]:
    """The strategies of a network (``simulated``, ``binary``, ``profile``) that are runs of their own."""
    return [s.name for s in STRATEGIES.values() if kind in s.tasks and twin(kind, s.name) == s.name]


def twin(kind: str, name: str) -> str:
    """The strategy whose runs count for ``name``: itself, or the one it coincides with.

    The simulated net has one convolution, which reads the DNA: nothing is coupled, so ``rcps``, every ``cj-rcps`` and
    their equals are one network; with the mean for pooling it is the conjoined one, since the dense layer is linear.

    >>> twin("simulated", "cj-rcps-early"), twin("simulated", "rcps-mean"), twin("binary", "rcps")
    ('rcps', 'conjoined', 'rcps')
    """
    found = strategy(name)
    if kind != "simulated" or found.kind != "trained" or not found.network.startswith(("rcps", "cj-rcps")):
        return name
    if found.network == "rcps-half":
        return name
    return "conjoined" if found.options.get("pooling") == "mean" else "rcps"


def chain(kind: str, wanted: Iterable[str]) -> list[list[str]]:
    """The wanted strategies as chains: a base and what depends on it lie in one, the base first; bases are added."""
    names = list(dict.fromkeys(twin(kind, name) for name in wanted))
    groups: dict[str, list[str]] = {}
    for name in names:
        line = [name]
        while (base := strategy(line[0]).base) is not None:
            line.insert(0, base)
        group = groups.setdefault(line[0], [])
        group += [n for n in line if n not in group]
    return list(groups.values())


def network(kind: str, found: Strategy, seed: int, sizes: dict[str, Any]) -> nn.Module:
    """The untrained network of a strategy that is trained from scratch; logits."""
    if found.equal_parameters:
        sizes = {**sizes, "filters": equal_width(kind, found.network, sizes)}
    if kind == "profile":
        return build(kind, found.network, seed=seed, **sizes)
    if "merge" in found.options:
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            return conjoin(TASKS[kind](**sizes), merge=found.options["merge"])
    return build(kind, found.network, seed=seed, **found.options, **sizes)


def started(found: Strategy, base: nn.Module) -> nn.Module:
    """The network that an evaluated or started strategy makes of its base's, which has the wanted weights.

    ``base`` is not changed. Post-hoc forms are :class:`~rcproof.Conjoined`; a warm start is the converted network,
    coupled in every layer that can be, with what is not trained frozen.
    """
    assert isinstance(base, BranchNet)
    single = type(base)(**base.config())
    single.load_state_dict(base.state_dict())
    if found.network == "standard":
        return single
    if found.sigmoid:
        return Conjoined(nn.Sequential(single, nn.Sigmoid()), inputs=single.input_representations, outputs="fixed")
    conjoined = conjoin(single)
    if not found.name.startswith("warm-rcps"):
        return conjoined
    from rcproof.convert import ConvertConfig, convert

    converted = convert(conjoined.eval(), ConvertConfig(input_shapes=single.input_shapes())).model
    coupled = couple(converted)
    if found.freed == "cross":
        free_cross_weights(coupled)
    return coupled


def free_cross_weights(model: nn.Module) -> None:
    """Freeze everything but the cross-strand weights B of every V = [A, B]: the gradient of A is set to zero.

    Adam leaves a weight whose gradient is always zero as it is, so no projection is needed.
    """
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for layer in coupled_layers_of(model).values():
        weight = layer.get_parameter("weight").requires_grad_(True)

        def only_cross(gradient: Tensor, layer: TiedLayer = layer) -> Tensor:
            masked = gradient.clone()
            split_weight(layer, masked)[0].zero_()  # a view: no network here has grouped transposed convolutions
            return masked

        weight.register_hook(only_cross)


def coupled_layers_of(model: nn.Module) -> dict[str, TiedLayer]:
    """The coupled layers of a network, by name."""
    return {n: m for n, m in model.named_modules() if isinstance(m, TiedLayer) and m.coupled}


def movement(before: dict[str, Tensor], model: nn.Module) -> dict[str, dict[str, float]]:
    """How far coupled weights moved: Frobenius norms of B and of the change of A, over that of the first A."""
    found = {}
    for name, layer in coupled_layers_of(model).items():
        first, _ = split_weight(layer, before[f"{name}.weight"])
        own, cross = split_weight(layer)
        size = float(first.norm())
        found[name] = {
            "cross": float(cross.detach().norm()) / size,
            "own": float((own.detach() - first).norm()) / size,
        }
    return found


def equal_width(kind: str, name: str, sizes: dict[str, Any]) -> int:
    """The number of filters with which ``name`` has as nearly as it can the parameters of ``cj-rcps-all``."""
    return _equal_width(kind, name, tuple(sorted(sizes.items())))


@cache  # networks of several widths are built, for every seed of a sweep anew without
def _equal_width(kind: str, name: str, items: tuple[tuple[str, Any], ...]) -> int:
    sizes = dict(items)
    wanted = parameters(build(kind, "cj-rcps-all", **sizes))
    width = sizes.get("filters", TASKS[kind]().config()["filters"])
    widths = range(max(1, width // 2), width + 1)

    @cache
    def count(filters: int) -> int:
        return parameters(build(kind, name, **{**sizes, "filters": filters}))

    above = bisect_left(widths, wanted, hi=len(widths) - 1, key=count)  # a wider network has more
    return min(widths[max(0, above - 1) : above + 1], key=lambda f: abs(count(f) - wanted))


def parameters(model: nn.Module) -> int:
    """Trainable numbers."""
    return sum(p.numel() for p in model.parameters())


def coupled_set(kind: str, name: str, sizes: dict[str, Any]) -> list[str]:
    """The layers with cross-strand weights in a trained strategy, by their names in the standard network."""
    found = strategy(name)
    return list(coupled_layers(TASKS[kind](**sizes), found.network)) if found.kind == "trained" else []
