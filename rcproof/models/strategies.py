"""The paper's architectures in every strategy: standard, conjoined, RCPS, RCPS-half and CJ-RCPS."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from rcproof.conjoined import Conjoined, as_final
from rcproof.errors import RcproofError
from rcproof.models.base import BranchNet, ChainNet
from rcproof.models.binary import BinaryNet
from rcproof.models.bpnet import ProfileNet
from rcproof.models.simulated import SimulatedNet

#: The paper's networks by the task that they are for.
TASKS: dict[str, type[BranchNet]] = {"simulated": SimulatedNet, "binary": BinaryNet, "profile": ProfileNet}

#: The ways to treat two strands; :func:`build` says what each is.
STRATEGIES = ("standard", "conjoined", "rcps", "rcps-half", "cj-rcps-early", "cj-rcps-later", "cj-rcps-all")

POOLINGS = ("sum", "mean")


def build(
    task: str,
    strategy: str,
    *,
    seed: int | None = None,
    final: str | None = None,
    pooling: str = "sum",
    coupled: Sequence[str] | None = None,
    **sizes: Any,
) -> nn.Module:
    """One of the paper's networks in one strategy, untrained and in train mode.

    ``simulated`` and ``binary`` map (N, 4, L) to logits (N, tasks); ``profile`` maps (sequence, control_logcount,
    control_profile) to (counts, profile); see :class:`~rcproof.models.ProfileNet` for shapes and representations.

    =================  =================================================================================
    strategy           what it is
    =================  =================================================================================
    ``standard``       the network itself, on one strand
    ``conjoined``      the network on both strands, logits averaged
    ``rcps``           every convolution of the trunk but the first is coupled: it reads both strands (T7)
    ``rcps-half``      the same with half the filters, so as many channels as the standard network
    ``cj-rcps-early``  between the two: the first convolutions form one conjoined block, the others are RCPS
    ``cj-rcps-later``  the last convolutions form one conjoined block
    ``cj-rcps-all``    all convolutions form one conjoined block
    =================  =================================================================================

    :func:`coupled_layers` says which layers are coupled. In the RCPS and CJ-RCPS forms of the binary and simulated
    nets the strands are summed after the pooling, before the dense layer (:func:`conjoin_trunk`); in all forms of the
    profile net the two answers of each head are averaged.

    Args:
        seed: seeds the initial weights and leaves torch's global generator as it was; None draws from that generator.
        final: what follows the merged logits, for example ``"sigmoid"``; default None, the logits.
        pooling: how the RCPS and CJ-RCPS forms of the binary and simulated nets join the strands: ``sum`` or ``mean``.
        coupled: names of the layers to couple, in place of the strategy's own; for every strategy but ``standard``
            and ``conjoined``.
        **sizes: arguments of the task's network.

    Coupled weights start as the published RCPS layers do, Glorot-uniform over the whole fan-in (both strands).
    Raises :class:`~rcproof.errors.RcproofError` for an unknown task, strategy, pooling or layer. Theorem T7; paper,
    methods and benchmarks.

    >>> x = torch.zeros(2, 4, 200)
    >>> build("simulated", "conjoined", seed=0, final="sigmoid")(x).shape
    torch.Size([2, 3])
    """
    if task not in TASKS:
        raise RcproofError("task", got=repr(task), expected=", ".join(TASKS))
    check_strategy(strategy)
    if pooling not in POOLINGS:
        raise RcproofError("pooling", got=repr(pooling), expected="sum or mean")
    if final is not None and task == "profile":
        raise RcproofError("final of a profile network", got=repr(final), expected="None: logits and log counts")
    if coupled is not None and strategy in ("standard", "conjoined"):
        raise RcproofError(f"coupled layers of the {strategy} strategy", got=list(coupled), expected="none")
    devices: list[int] = []
    with nullcontext() if seed is None else torch.random.fork_rng(devices):
        if seed is not None:
            torch.manual_seed(seed)
        net = TASKS[task](**(halved(task, sizes) if strategy == "rcps-half" else sizes))
        if strategy == "standard":
            last = as_final(final)
            return net if last is None else nn.Sequential(OrderedDict(net=net, final=last))
        if strategy == "conjoined":
            return conjoin(net, final=final)
        layers = coupled_layers(net, strategy) if coupled is None else tuple(coupled)
        conjoined = conjoin_trunk(net, pooling, final) if isinstance(net, ChainNet) else conjoin(net)
        return tie_strands(conjoined, layers, net.input_shapes())


def coupled_layers(net: BranchNet, strategy: str) -> tuple[str, ...]:
    """S, the layers with cross-strand weights, by their names in ``net``.

    The trunk is cut into blocks: each convolution is one, but those of the conjoined block are one together. The two
    strands are stacked where a block begins, so the layer that begins it is coupled, but for the first of the network,
    which reads the DNA (T7).

    =============  ============  =========  ======================================  =====================
    strategy       binary        simulated  profile, of n dilated layers            paper
    =============  ============  =========  ======================================  =====================
    rcps(-half)    conv2, conv3  none       all dilated layers                      RCPS, RCPS-half
    cj-rcps-early  conv3         none       dilated.⌊n/2⌋ … dilated.n−1             CJRCWrapper-1,2
    cj-rcps-later  conv2         none       dilated.0 … dilated.⌊n/2⌋               CJRCWrapper-2,3
    cj-rcps-all    none          none       none                                    CJRCWrapper-1,2,3,
                                                                                    CJRCWrapperArch
    =============  ============  =========  ======================================  =====================

    So the conjoined block is conv1 and conv2 (early), conv2 and conv3 (later) or all three of the binary net, whose
    variants the last column names. The simulated net has one convolution and nothing to couple. In the profile net the
    block is the first convolution and the first half of the dilated layers (early), the second half (later), or the
    whole trunk.

    **This is our reading**: the paper's repository names the three binary variants and does not hold their code. We
    take the numbers for the convolutions that form one conjoined block, because the published AuROC of CJRCPS-all lie
    within one standard deviation of the conjoined network's on all three data sets, and here it has the conjoined
    network's functions. The other reading, that the strands are stacked anew after each of those convolutions, has
    S = (conv2, conv3), (conv3,) and (conv2, conv3): pass it as ``coupled``. Of the profile variants that code holds
    the one with the whole trunk in a block; halving the trunk is ours.

    The heads are coupled nowhere. Under a mean of the strands (or a sum before the head) a linear head can only use
    the equivariant part of its weights (T4, T5), so cross-strand weights there would change how a network trains and
    not what it can represent; and the published profile head has the kernel of an uncoupled one, 2 × 64 × 75.

    Raises :class:`~rcproof.errors.RcproofError` for an unknown strategy.

    >>> coupled_layers(BinaryNet(), "cj-rcps-later"), coupled_layers(ProfileNet(), "cj-rcps-early")
    (('conv2',), ('dilated.3', 'dilated.4', 'dilated.5'))
    """
    check_strategy(strategy)
    if strategy in ("standard", "conjoined"):
        return ()
    hidden = tuple(name for name in net.couplable if name.startswith(("conv", "dilated.")))  # 1, 2, …; the first is 0
    end, half = 1 + len(hidden), 1 + len(hidden) // 2
    begin = 1 if isinstance(net, BinaryNet) else half  # of the later block; conv2 is in the early one too
    blocks = {"cj-rcps-early": (0, half), "cj-rcps-later": (begin, end), "cj-rcps-all": (0, end)}
    first, stop = blocks.get(strategy, (0, 1))
    return tuple(name for i, name in enumerate(hidden, 1) if not first < i < stop)


def check_strategy(strategy: str) -> None:
    """An error for a strategy that nobody knows."""
    if strategy not in STRATEGIES:
        raise RcproofError("strategy", got=repr(strategy), expected=", ".join(STRATEGIES))


def conjoin(net: BranchNet, **options: Any) -> Conjoined:
    """``net`` conjoined, with the representations that it declares; ``options`` as in :class:`~rcproof.Conjoined`.

    >>> from rcproof.models import BinaryNet
    >>> conjoin(BinaryNet(length=400), final="sigmoid")(torch.zeros(2, 4, 400)).shape
    torch.Size([2, 1])
    """
    return Conjoined(net, inputs=net.input_representations, outputs=net.output_representations, **options)


def conjoin_trunk(net: ChainNet, pooling: str = "sum", final: str | None = None) -> Conjoined:
    """The strands joined before the dense layer: trunk on both, features summed (or averaged), then the head.

    The features are in each strand's own orientation when they are joined, which is the paper's RevCompSumPool: the
    joined (N, F, L′) is invariant, and so is every head on it. ``pooling`` is the merge, ``final`` follows the logits.
    """
    trunk, head = net.parts()
    last = as_final(final)
    if last is not None:
        head.add_module("final", last)
    return Conjoined(trunk, inputs=net.input_representations, outputs="fixed", merge=pooling, final=head)


def tie_strands(conjoined: Conjoined, layers: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> nn.Module:
    """The RCPS form of an untrained conjoined network, ``layers`` coupled and drawn anew; in train mode."""
    from rcproof.convert import ConvertConfig, convert
    from rcproof.nn.base import TiedLayer
    from rcproof.nn.couple import couple

    # No numerical check: the weights that it would compare are about to be replaced, and the tests compare them.
    network: nn.Module = convert(conjoined.eval(), ConvertConfig(input_shapes=tuple(shapes), verify=False)).model
    if layers:
        network = couple(network, layers=layers)
    for module in network.modules():
        if isinstance(module, TiedLayer) and module.coupled:
            assert isinstance(module.weight, torch.Tensor)
            nn.init.xavier_uniform_(module.weight)
    return network.train()


def halved(task: str, sizes: dict[str, Any]) -> dict[str, Any]:
    """``sizes`` with half the filters: the 2F channels of the RCPS network are then the standard network's number."""
    filters = sizes["filters"] if "filters" in sizes else TASKS[task]().config()["filters"]
    if filters % 2:
        raise RcproofError("filters to halve", got=filters, expected="an even number")
    return {**sizes, "filters": filters // 2}
