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

TASKS: dict[str, type[BranchNet]] = {"simulated": SimulatedNet, "binary": BinaryNet, "profile": ProfileNet}

STRATEGIES = ("standard", "conjoined", "rcps", "rcps-half", "cj-rcps-early", "cj-rcps-later", "cj-rcps-all")

POOLINGS = ("sum", "mean")

# The binary net's coupled layers: where the strands are stacked anew, the layer that begins the next block.
BINARY_BLOCKS = {
    "cj-rcps-early": ("conv2", "conv3"),
    "cj-rcps-later": ("conv3", "dense"),
    "cj-rcps-all": ("conv2", "conv3", "dense"),
}


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
    ``rcps``           every layer after the first is coupled: it reads both strands (T7, S = all). In the binary and
                       simulated nets the strands are summed after the pooling and before the dense layer
    ``rcps-half``      the same with half the filters, so as many channels as the standard network
    ``cj-rcps-early``  between conjoined and RCPS: some layers are coupled (T7), namely :func:`coupled_layers`
    ``cj-rcps-later``
    ``cj-rcps-all``
    =================  =================================================================================

    Args:
        seed: seeds the initial weights and leaves torch's global generator as it was; None draws from that generator.
        final: what follows the merged logits, for example ``"sigmoid"``; default None, the logits.
        pooling: how ``rcps`` and ``rcps-half`` join the strands of the binary and simulated nets: ``sum`` or ``mean``.
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
    if strategy not in STRATEGIES:
        raise RcproofError("strategy", got=repr(strategy), expected=", ".join(STRATEGIES))
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
        if strategy.startswith("rcps") and isinstance(net, ChainNet):
            return tie_strands(conjoin_trunk(net, pooling, final), layers, net.input_shapes())
        return tie_strands(conjoin(net, final=final), layers, net.input_shapes())


def coupled_layers(net: BranchNet, strategy: str) -> tuple[str, ...]:
    """S, the layers with cross-strand weights, by their names in ``net``.

    ==========  ===========  ============  =========================  ==============
    strategy    binary       simulated     profile                    paper
    ==========  ===========  ============  =========================  ==============
    rcps(-half) conv2,conv3  none          dilated layers and heads   RCPS(-half)
    early       conv2,conv3  dense         dilated layers             CJRCPS-early
    later       conv3,dense  dense         heads                      CJRCPS-later
    all         all three    dense         dilated layers and heads   CJRCPS-all
    ==========  ===========  ============  =========================  ==============

    **This is our reading.** The paper's repository names the binary variants "CJRCWrapper-1,2", "-2,3" and "-1,2,3"
    and does not hold their code. We read: the strands are stacked anew after those convolutions, which couples the
    layer that follows each. The other reading, that those convolutions form one block, has S = (conv3,), (conv2,)
    and (): pass it as ``coupled``. The published AuROC of CJRCPS-all lie within one standard deviation of the
    conjoined network's on all three data sets, which speaks for the other reading. The profile hybrid in that code
    (``CJRCWrapperArch``) is ``later``: a conjoined trunk under RCPS heads.

    Coupling a *linear* last layer adds weights but no functions, because the merge joins the strands after it
    anyway (T5): for an invariant output, ½(A + B)(a + b) is all that A and B can do. So coupling ``dense`` or the
    profile heads changes how a network trains, not what it can represent; binary ``early``, ``all`` and ``rcps`` name
    the same functions, and so do all equivariant forms of the simulated net, which has one convolution.
    """
    if strategy in ("standard", "conjoined"):
        return ()
    rcps = strategy.startswith("rcps")
    if isinstance(net, ProfileNet):
        dilated = tuple(name for name in net.couplable if name not in net.heads)
        return {"cj-rcps-early": dilated, "cj-rcps-later": net.heads}.get(strategy, net.couplable)
    if isinstance(net, BinaryNet) and not rcps:
        return BINARY_BLOCKS[strategy]
    return tuple(name for name in net.couplable if name != "dense" or not rcps)


def conjoin(net: BranchNet, **options: Any) -> Conjoined:
    """``net`` conjoined, with the representations that it declares; ``options`` as in :class:`~rcproof.Conjoined`."""
    return Conjoined(net, inputs=net.input_representations, outputs=net.output_representations, **options)


def conjoin_trunk(net: ChainNet, pooling: str = "sum", final: str | None = None) -> Conjoined:
    """The strands joined before the dense layer: trunk on both, features summed (or averaged), then the head.

    The features are in each strand's own orientation when they are joined, which is the paper's RevCompSumPool: the
    joined (N, F, L′) is invariant, and every head on it is. ``pooling`` is the merge, ``final`` follows the logits.
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
