"""``convert``: a trained conjoined network in, RCPS weights of the same function out, with a certificate."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.checking.conditions import side_conditions
from rcproof.conjoined import Conjoined
from rcproof.convert.build import Builder, is_leaf, uses_tied_layers
from rcproof.convert.certificate import Certificate, TensorOrigin, node_proofs, tensors_sha256, versions
from rcproof.convert.copies import Copied
from rcproof.convert.shapes import Shape, infer_shapes, stated_shapes
from rcproof.convert.source import branch, describe_source, final_prefixes, named_tensors
from rcproof.convert.trace import EXAMPLE_BATCH, trace
from rcproof.convert.typing import FREE, Info
from rcproof.errors import ConversionError, RcproofError, TraceError, VerificationError
from rcproof.network.graph import Graph, Node, Ref, map_refs
from rcproof.network.network import Network, attach, find_module
from rcproof.nn.base import TiedLayer
from rcproof.strand import Representation
from rcproof.structure import flatten
from rcproof.symbolic.checker import Refused
from rcproof.symbolic.networks import network_steps
from rcproof.verify import InputCase, check_equivalence, check_independence, draw_inputs
from rcproof.verify.running import answered, prepare


@dataclass(frozen=True)
class ConvertConfig:
    """Options of :func:`convert`.

    Attributes:
        strict: refuse to lift parameters (by default a block without a rule, such as an LSTM, runs whole on
            each strand).
        leaves: names of submodules, or of their classes, that tracing leaves whole (they are lifted).
        input_shapes: shapes without the batch, (C, L), (C,), or (L,) for tokens. If not given, what the network
            says of itself in a method ``input_shapes()``, else found by trial.
        layout: the layout of the result: ``auto``, ``stacked`` or ``batched``.
        dropout: masks of the two strands in training: ``independent`` or ``shared``.
        verify: also compare the two networks numerically, and raise if they differ.
        seed: of the inputs drawn for that.

    >>> ConvertConfig(strict=True, leaves="attention").leaves
    ('attention',)
    """

    strict: bool = False
    leaves: str | tuple[str, ...] = ()
    input_shapes: Sequence[Shape] | None = None
    layout: str = "auto"
    dropout: str = "independent"
    verify: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.leaves, str):
            object.__setattr__(self, "leaves", (self.leaves,))


@dataclass(frozen=True)
class Conversion:
    """The RCPS network, the certificate, and the input shapes it was checked on.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv1d(4, 2, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()).eval()
    >>> conversion = convert(Conjoined(net).eval())
    >>> conversion.model(torch.randn(3, 4, 20)).shape, conversion.certificate.lifted
    (torch.Size([3, 2]), ())
    """

    model: Network
    certificate: Certificate
    input_shapes: tuple[Shape, ...]


def convert(conjoined: Conjoined, config: ConvertConfig | None = None) -> Conversion:
    """RCPS weights that compute what ``conjoined`` computes, on every input (theorem T5).

    The network is traced, every value typed, every parametrised layer rewritten as a tied layer, and what
    has no rule lifted whole (T2). Submodule names and state-dict keys of ``conjoined.net`` stay. The input is
    never changed; dtype and device are kept; the result is in eval mode. Unless ``config.verify`` is off, both
    networks are then compared in float64 on drawn inputs, outputs and input gradients.

    Raises: :class:`~rcproof.errors.TraceError` for a network that cannot be traced or typed (the message
    names the step, its line, and what would help); :class:`~rcproof.errors.ConversionError` for a network in
    train mode, with NaN weights, or whose input shapes cannot be found; and
    :class:`~rcproof.errors.VerificationError` if a numerical check fails.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv1d(4, 8, 5), nn.ReLU(), nn.MaxPool1d(4), nn.Flatten(), nn.Linear(48, 1)).eval()
    >>> conversion = convert(Conjoined(net).eval())
    >>> conversion.model.get_submodule("0").weight.shape, conversion.certificate.share_tied
    (torch.Size([8, 4, 5]), 1.0)
    """
    config = config or ConvertConfig()
    _check_source(conjoined)
    _check_config(config, conjoined.net)
    net, _ = branch(conjoined, config.leaves)
    count = input_count(conjoined)
    reps = conjoined.input_representations(count)
    if config.input_shapes is None:
        shapes = stated_shapes(conjoined.net, count) or infer_shapes(net, trace(net, count, config.leaves), reps)
    else:
        shapes = tuple(tuple(s) for s in config.input_shapes)
    model, builder, outputs = _rewrite(conjoined, net, reps, shapes, config)
    certificate = _certify(conjoined, model, builder, reps, outputs, config.leaves, config.verify)
    if config.verify:
        checks = _verify(conjoined, model, reps, shapes, config.seed)
        certificate = Certificate(**{**certificate.__dict__, "checks": checks})
    return Conversion(model, certificate, shapes)


def _check_source(conjoined: Conjoined) -> None:
    if not isinstance(conjoined, Conjoined):
        raise ConversionError(
            "convert takes a conjoined network",
            got=type(conjoined).__name__,
            expected="rcproof.Conjoined(net, inputs=…, outputs=…, merge=…)",
            fix="wrap your single-strand network in Conjoined (post-hoc conjoined)",
        )
    for module in conjoined.modules():
        kind, inner = type(module).__name__, _INSIDE.get(type(module).__name__)
        if isinstance(module, torch.jit.ScriptModule):
            inner = "the network it was made from"
        if inner:
            raise ConversionError(f"a {kind} hides its network", fix=f"convert {inner}")
    training = [name or "the network itself" for name, m in conjoined.named_modules() if m.training]
    if training:
        raise ConversionError(
            "the network is in train mode",
            got=f"{len(training)} modules, first {training[0]!r}",
            expected="eval mode",
            fix="call .eval() first: in train mode batch norm statistics differ between the two forms (T10)",
        )
    if uses_tied_layers(conjoined):
        raise ConversionError("the network holds RCPS layers already", fix="there is nothing to convert")
    for name, tensor in [*conjoined.named_parameters(), *conjoined.named_buffers()]:
        if tensor.is_meta:
            raise ConversionError(f"weights {name!r}", got="no values (the meta device)", expected="a trained network")
        if tensor.is_floating_point() and not _finite(tensor):
            raise ConversionError(f"weights {name!r}", got="NaN or infinite values", expected="finite numbers")


def _finite(tensor: Tensor) -> bool:
    """Whether all values are: NaN and infinities show in the extremes, which takes one pass and no memory."""
    if not tensor.numel():
        return True
    low, high = torch.aminmax(tensor.detach())
    return bool(torch.isfinite(low)) and bool(torch.isfinite(high))


# Wrappers that run a network as a whole, and where it is.
_INSIDE = {"OptimizedModule": "its _orig_mod", "DataParallel": "its module", "DistributedDataParallel": "its module"}


def _check_config(config: ConvertConfig, net: nn.Module) -> None:
    shapes = config.input_shapes
    flat = [v for s in shapes or () for v in (s if isinstance(s, tuple | list) else "?")]
    if not all(isinstance(v, int) for v in flat):
        raise ConversionError("input_shapes", got=shapes, expected="a list of shapes, such as [(4, 1000)]")
    known = {name for name, _ in net.named_modules()} | {type(m).__name__ for m in net.modules()}
    for leaf in config.leaves:
        if leaf not in known:
            raise ConversionError("leaves", got=repr(leaf), expected="the name of a submodule, or of its class")


def input_count(conjoined: Conjoined) -> int:
    """How many tensors the network takes: its representations if several, else its required arguments."""
    if isinstance(conjoined.net, Network):
        return conjoined.net.input_count
    if len(conjoined.inputs) > 1:
        return len(conjoined.inputs)
    parameters = inspect.signature(conjoined.net.forward).parameters.values()
    required = [
        p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return max(1, len(required))


def _rewrite(
    conjoined: Conjoined, net: nn.Module, reps: Sequence[Representation], shapes: Sequence[Shape], config: ConvertConfig
) -> tuple[Network, Builder, list[str]]:
    copied = Copied()
    builder = Builder(net, len(reps), leaves=config.leaves, copied=copied, strict=config.strict, dropout=config.dropout)
    returned = builder.strands(_example(conjoined, reps, shapes), reps)
    leaves, structure = flatten(returned, lambda v: isinstance(v, Ref))
    infos = [builder.infos[builder.current(ref.name)] for ref in leaves]
    for i, info in enumerate(infos):
        if info.kind == "free" or info.shape is None:
            raise TraceError(f"output {i} does not depend on the input, or is no tensor", fix="leave it out")
        if info.axis != 0:
            raise TraceError(f"output {i} has its examples on axis {info.axis}", expected="axis 0")
    out_reps = conjoined.output_representations([len(i.shape or ()) for i in infos])
    for i, (info, rep) in enumerate(zip(infos, out_reps, strict=True)):
        if len(info.shape or ()) > 3:
            raise TraceError(f"output {i}", got=f"rank {len(info.shape or ())}", expected="rank 1, 2 or 3")
        if rep.size is not None and rep.size != (info.shape or ())[1]:
            rep.permutation((info.shape or ())[1])
    layers, tensors, nodes = builder.layers, builder.tensors, builder.nodes
    results = []
    merges, finals = conjoined.merges(len(leaves)), conjoined.finals(len(leaves))
    prefixes = final_prefixes(conjoined, [*layers, *tensors, *net.state_dict()], len(leaves))
    for i, (ref, rep, mode, final) in enumerate(zip(leaves, out_reps, merges, finals, strict=True)):
        merged = Node(f"merge:{i}", "merge", mode, (ref,), kind="merged", rep=str(rep), rule="merge", lemma="T5")
        nodes.append(merged)
        results.append(merged.name)
        if final is not None:
            results[-1] = _add_final(final, prefixes[i], i, merged.name, nodes, layers, tensors, copied)
    if len({n.name for n in nodes}) != len(nodes):
        raise RcproofError("two steps of the network have one name")
    for node in nodes:
        node.conditions = _conditions(node, layers, builder.infos)
    graph = Graph(nodes, results, structure)
    model = _assemble(graph, layers, tensors, net, copied, config.layout)
    return model, builder, [str(r) for r in out_reps]


def _conditions(node: Node, layers: Mapping[str, nn.Module], infos: Mapping[str, Info]) -> list[str]:
    """The side conditions of a step, from the sizes that it had on the example."""
    reads = [i for r in dict.fromkeys(node.refs()) if (i := infos.get(r)) is not None and i.axis is not None]
    layer = layers[node.target] if node.op == "module" else None
    return side_conditions(node, layer, reads, infos.get(node.name, FREE))


def _add_final(
    final: nn.Module,
    prefix: str,
    index: int,
    feed: str,
    nodes: list[Node],
    layers: dict[str, nn.Module],
    tensors: dict[str, Tensor],
    copied: Copied,
) -> str:
    """The steps after the merge; returns the name of the last one."""
    if isinstance(final, nn.Identity):
        return feed
    if is_leaf(final):
        layers.setdefault(prefix, copied.module(final))
        nodes.append(Node(f"final:{index}", "module", prefix, (Ref(feed),), rule="final", lemma="T5"))
        return nodes[-1].name
    builder = Builder(final, 1, prefix=prefix, copied=copied)
    result = builder.plain([feed])
    if not isinstance(result, Ref):
        raise TraceError("the final step must return one tensor", got=type(result).__name__)
    renamed = {n.name: f"{n.name}_{index}" for n in builder.nodes}
    for node in builder.nodes:
        node.args = map_refs(node.args, lambda r: Ref(renamed.get(r.name, r.name)))
        node.kwargs = map_refs(node.kwargs, lambda r: Ref(renamed.get(r.name, r.name)))
        node.name, node.rule, node.lemma = renamed[node.name], "final", "T5"
    nodes += builder.nodes
    layers |= {k: v for k, v in builder.layers.items() if k not in layers}
    tensors |= builder.tensors
    return renamed.get(result.name, result.name)


def _assemble(
    graph: Graph,
    layers: dict[str, nn.Module],
    tensors: dict[str, Tensor],
    source: nn.Module,
    copied: Copied,
    layout: str,
) -> Network:
    """The network, with every state-dict key of the source, used or not."""
    model = Network(graph, layers, layout)
    held = set(dict(model.named_parameters(remove_duplicate=False))) | set(
        dict(model.named_buffers(remove_duplicate=False))
    )
    keys = set(source.state_dict(keep_vars=True))
    for path, tensor in tensors.items():
        if path not in held:
            attach(model, path, tensor, persistent=isinstance(tensor, nn.Parameter) or path in keys)
            held.add(path)
    for path, tensor in source.state_dict(keep_vars=True).items():
        if path not in held and isinstance(tensor, Tensor):
            attach(model, path, copied.tensor(tensor))
    return model.eval()


def _example(conjoined: nn.Module, reps: Sequence[Representation], shapes: Sequence[Shape]) -> list[Tensor]:
    anchor = next(
        (p for p in [*conjoined.parameters(), *conjoined.buffers()] if p.is_floating_point()), torch.zeros(())
    )
    case = next(
        iter(
            draw_inputs(shapes, reps, kinds=("random",), batch=EXAMPLE_BATCH, dtype=anchor.dtype, device=anchor.device)
        )
    )
    return list(case.tensors)


def _certify(
    conjoined: Conjoined,
    model: Network,
    builder: Builder,
    reps: Sequence[Representation],
    outputs: list[str],
    leaves: Sequence[str],
    verify: bool,
) -> Certificate:
    described = describe_source(conjoined, len(reps), leaves)
    stated = described["tensors"]
    origins = []
    named = named_tensors(model)
    hashes = tensors_sha256(named)
    for name, tensor in named.items():
        head, _, rest = name.partition(".")
        candidates = (f"net.{name}", name, f"{head.rstrip('_')}.{rest}", f"constant {name}")
        where = next(c for c in candidates if c in stated)
        origins.append(
            TensorOrigin(
                name, where, "copy", tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."),
                stated[where]["sha256"], hashes[name],
            )
        )  # fmt: skip
    tied = {p for m in model.modules() if isinstance(m, TiedLayer) for p in m.parameters(recurse=False)}
    lifted = {p for path in builder.lifted for p in find_module(model, path).parameters()}
    lifted |= {p for p in builder.tensors.values() if isinstance(p, nn.Parameter)}
    return Certificate(
        inputs=tuple(str(r) for r in reps),
        outputs=tuple(outputs),
        merge=conjoined.merges(len(outputs)),
        nodes=node_proofs(model.rcproof_graph(), builder.lifted),
        tensors=tuple(origins),
        parameters={
            "tied": sum(p.numel() for p in tied),
            "lifted": sum(p.numel() for p in lifted - tied),
            "total": sum(p.numel() for p in model.parameters()),
        },
        source=described,
        proof=_proof(model, verify),
        lifted=tuple(builder.lifted) + tuple(p for p, t in builder.tensors.items() if t in lifted - tied),
        versions=versions(),
    )


def _proof(model: Network, verify: bool) -> dict[str, Any]:
    """The steps of the representation theorem; unless ``verify``, none where it does not check."""
    try:
        return dict(network_steps(model.rcproof_graph().to_json()))
    except Refused as why:
        if verify:
            raise VerificationError("the proof of the conversion does not check", got=why) from None
        return {}


def _verify(
    conjoined: Conjoined, model: Network, reps: Sequence[Representation], shapes: Sequence[Shape], seed: int
) -> dict[str, Any]:
    """Compare numerically, where the source itself gives finite answers, and raise if any check fails."""
    drawn: list[InputCase] = list(draw_inputs(shapes, reps, batch=2, seed=seed))
    cases, left_out = answered(prepare(conjoined, torch.float64), drawn)
    independence = check_independence(conjoined.net, cases[:2], seed=seed)
    independence.raise_if_failed()
    equivalence = check_equivalence(conjoined, model, cases, seed=seed)
    equivalence.raise_if_failed()
    return {"independence": independence.to_dict(), "equivalence": equivalence.to_dict(), "left_out": left_out}


def plain_network(net: nn.Module, count: int, leaves: Sequence[str] = ()) -> Network:
    """An ordinary network as a graph network of the same layers, for files that describe themselves.

    >>> plain_network(nn.Sequential(nn.Conv1d(4, 2, 5), nn.ReLU()), 1)(torch.zeros(3, 4, 20)).shape
    torch.Size([3, 2, 16])
    """
    if is_leaf(net):
        holder = nn.Sequential()
        holder.add_module("net", net)
        holder.training = net.training
        net = holder
    copied = Copied()
    builder = Builder(net, count, leaves=leaves, copied=copied)
    leaves_, structure = flatten(builder.plain(), lambda v: isinstance(v, Ref))
    graph = Graph(builder.nodes, [ref.name for ref in leaves_], structure)
    training = net.training
    return _assemble(graph, builder.layers, builder.tensors, net, copied, "auto").train(training)


__all__ = ["Conversion", "ConvertConfig", "convert", "input_count", "plain_network"]
