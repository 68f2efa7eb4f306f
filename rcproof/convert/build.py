"""From an fx graph to a network graph: type every value, rewrite every layer, keep every name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from rcproof.convert import rules
from rcproof.convert.copies import Copied
from rcproof.convert.inplace import Aliases, drop_inplace
from rcproof.convert.trace import Recorder, Tracer, constant, place_of, trace, writes
from rcproof.convert.typing import FREE, Info, Mixing, result_info, stacked_form, tensors_in, type_call
from rcproof.errors import TraceError
from rcproof.network.graph import ATTRIBUTES, Node, Ref
from rcproof.network.network import find_module, find_tensor
from rcproof.network.ops import OPS, name_of
from rcproof.nn.base import TiedLayer
from rcproof.strand import Representation

# Attributes of what max, sort and their kin return.
_FIELDS = {"values": 0, "indices": 1}


class Builder:
    """Builds nodes and layers from one traced module.

    With ``reps`` the module is the branch of a conjoined network and every value is typed; without, it is
    an ordinary network (or a final step after the merge) and every value is ``merged``.
    """

    def __init__(
        self,
        root: nn.Module,
        count: int,
        *,
        leaves: Sequence[str] = (),
        prefix: str = "",
        copied: Copied | None = None,
        strict: bool = False,
        dropout: str = "independent",
    ) -> None:
        self.root, self.prefix, self.strict, self.dropout = root, prefix, strict, dropout
        self.copied = copied or Copied()
        self.graph = trace(root, count, leaves)
        self.aliases = Aliases(root, self.graph)
        self.nodes: list[Node] = []
        self.layers: dict[str, nn.Module] = {}
        self.tensors: dict[str, Tensor] = {}
        self.lifted: list[str] = []
        self.infos: dict[str, Info] = {}
        self.values: dict[str, Any] = {}
        self.redirect: dict[str, str] = {}  # written in place: the value to read instead
        self.feed: dict[str, str] = {}  # inputs that are nodes of another graph
        self.typed = False
        calls = [n.target for n in self.graph.nodes if n.op == "call_module"]
        self.shared = {t for t in calls if calls.count(t) > 1}
        for n in self.graph.nodes:  # before anything runs
            if not self.aliases.written(n):
                continue
            owner = self.aliases.owner(n.all_input_nodes[0])
            if owner.op == "get_attr" or (owner.op == "placeholder" and not prefix):
                what = "a parameter or buffer" if owner.op == "get_attr" else "its input"
                raise self.refuse(n, f"it writes in place into {what}", "use the out-of-place form")

    # -- the two ways in ---------------------------------------------------------------------------
    def strands(self, inputs: Sequence[Tensor], reps: Sequence[Representation]) -> Any:
        """Type and rewrite everything for strand pairs; returns fx's output structure with node names."""
        self.typed = True
        recorder = Recorder(self.root, self.graph)
        with torch.no_grad():
            recorder.run(*inputs)
        self.values = recorder.values
        closed = dict(zip(self.graph.find_nodes(op="placeholder"), reps, strict=True))
        for target in set(self.shared):  # a layer that is called on inputs of one kind only need not be told apart
            seen = {closed.get(n.args[0]) if n.args else None for n in self.graph.nodes if n.target == target}
            if len(seen) == 1 and None not in seen:
                self.shared.remove(target)
        return self._walk(list(reps))

    def plain(self, feed: Sequence[str] | None = None) -> Any:
        """Import the module as it is. ``feed``: names of earlier nodes that are its inputs."""
        return self._walk([None] * len(self.graph.find_nodes(op="placeholder")), feed)

    def _walk(self, reps: list[Representation | None], feed: Sequence[str] | None = None) -> Any:
        inputs = iter(range(len(reps)))
        result = None
        for n in self.graph.nodes:
            if n.op == "placeholder":
                i = next(inputs)
                if feed is not None:
                    self.feed[n.name] = feed[i]
                    continue
                rep = reps[i]
                node = Node(self.name(n.name), "input", kind="closed" if self.typed else "merged")
                if rep is not None:
                    node.rep = str(rep)
                    self.infos[n.name] = result_info(self.values[n.name], 0, "closed", rep)
                    node.lemma, node.rule = "T1", "closed input"
                self.nodes.append(node)
            elif n.op == "output":
                result = map_nodes(n.args[0], lambda m: Ref(self.resolve(m.name)))
            else:
                self._step(n)
        return result

    # -- names -------------------------------------------------------------------------------------
    def name(self, fx_name: str) -> str:
        return f"{self.prefix}:{fx_name}" if self.prefix else fx_name

    def path(self, target: str) -> str:
        if self.prefix:
            return f"{self.prefix}.{target}" if target else self.prefix
        return target

    def resolve(self, fx_name: str) -> str:
        """The node that holds this value now."""
        name = self.current(fx_name)
        return self.feed.get(name, self.name(name))

    def current(self, fx_name: str) -> str:
        """The fx value that stands for ``fx_name`` now, after steps that wrote into it."""
        while fx_name in self.redirect:
            fx_name = self.redirect[fx_name]
        return fx_name

    def refuse(self, n: fx.Node, why: object, fix: str) -> TraceError:
        what = f"layer {n.target!r}" if n.op == "call_module" else f"step {n.name!r} ({_shown(n.target)})"
        return TraceError(f"{what}{place_of(n)} cannot be converted: {why}", fix=fix)

    # -- one step ----------------------------------------------------------------------------------
    def _step(self, n: fx.Node) -> None:
        args, kwargs = map_nodes((n.args, n.kwargs), lambda m: Ref(self.resolve(m.name)))
        node = Node(self.name(n.name), "call", args=tuple(args), kwargs=dict(kwargs))
        self.infos[n.name] = FREE
        try:
            if n.op == "get_attr":
                self._tensor(n, node)
            elif n.op == "call_module":
                self._module(n, node)
            else:
                self._call(n, node)
        except Mixing as why:
            raise self.refuse(
                n,
                why,
                "both strands ride in one batch, so every step must treat each example on its own: rewrite the step, "
                "or name the submodule around it in leaves=[…] if it does treat examples one by one",
            ) from None
        info = self.infos[n.name]
        if self.typed:
            node.kind = "stacked" if info.items is not None and info.carries else info.kind
            if info.kind == "closed":
                node.rep = str(info.rep)
        self.nodes.append(node)
        if self.aliases.written(n):
            self._written(n)

    def _tensor(self, n: fx.Node, node: Node) -> None:
        target = str(n.target)
        held = constant(self.root, target)
        if held is None:
            try:
                held = find_tensor(self.root, target)
            except Exception:
                held = getattr(self.root, target, None)
        if not isinstance(held, Tensor):
            raise self.refuse(n, f"attribute {target!r} is no tensor", "make it a number or a registered buffer")
        node.op, node.target, node.args = "tensor", self.path(target), ()
        node.kind, node.rule, node.lemma = ("free" if self.typed else "merged"), "free tensor", "T2"
        self.tensors[self.path(target)] = self.copied.tensor(held)

    def _types(self, n: fx.Node) -> tuple[list[Any], dict[str, Any], list[Any]]:
        """Example values of the arguments, and their types."""
        values, kwvalues = map_nodes((n.args, n.kwargs), lambda m: self.values[self.current(m.name)])
        infos = map_nodes((n.args, n.kwargs), lambda m: self.infos[self.current(m.name)])
        return list(values), dict(kwvalues), _listed(infos)

    # -- layers ------------------------------------------------------------------------------------
    def _module(self, n: fx.Node, node: Node) -> None:
        target = str(n.target)
        source = find_module(self.root, target)
        path = self.path(target)
        node.op, node.target = "module", path
        if not self.typed:
            self.layers.setdefault(path, self.copied.module(source))
            return
        _, _, infos = self._types(n)
        carrying = [i for i in _deep_infos(infos) if i.carries]
        if not carrying:
            node.rule, node.lemma = "free of the input", "T2"
            self.layers.setdefault(path, self.copied.module(source))
            return
        closed = carrying[0].kind == "closed" and target not in self.shared
        tied_over = self._closed_source(source, carrying[0]) if closed else None
        site = rules.Site(tuple(i for i in infos if isinstance(i, Info)), tied_over, self.dropout)
        found = rules.match(source)
        rewrite = found(source, site) if found else None
        if rewrite is None:
            rewrite = rules.lift(source, site)
        node.rule, node.lemma = rewrite.rule, rewrite.lemma
        node.stacked = rewrite.stacked
        if rewrite.lifted:
            self._lift(n, source, target)
        held = self.layers.get(path)
        if held is None or (rewrite.layer is not None and not isinstance(held, TiedLayer)):
            if rewrite.layer is None:
                self.layers[path] = self.copied.module(source)
            else:
                self.layers[path] = self.copied.into(rewrite.layer, source)
        self.infos[n.name] = _module_result(source, self.values[n.name], rewrite, carrying[0])

    def _closed_source(self, module: nn.Module, info: Info) -> Representation | None:
        """The representation of a closed input that this layer can tie over; else it is lifted first."""
        rep, rank = info.rep, len(info.shape or ())
        if rep is None or (rep.tokens and not isinstance(module, nn.Embedding)):
            return None
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            simple = rep.reverses_length and module.groups == 1 and isinstance(module, nn.Conv1d)
            return rep if simple and rank == 3 else None
        if isinstance(module, nn.Linear):
            return rep if rank == 2 else None
        return rep if isinstance(module, nn.Embedding) else None

    def _lift(self, n: fx.Node, source: nn.Module, target: str) -> None:
        if sum(p.numel() for p in source.parameters()) == 0:
            return
        if self.strict:
            raise self.refuse(
                n,
                f"no rule ties the parameters of {type(source).__name__}, and strict=True refuses to lift them",
                "use strict=False: the layer then runs whole on each strand, which is exact (T2)",
            )
        if target not in self.lifted:
            self.lifted.append(target)

    # -- functions ---------------------------------------------------------------------------------
    def _call(self, n: fx.Node, node: Node) -> None:
        if n.op == "call_function" and n.target is getattr:
            attribute = node.args[1]
            if attribute in _FIELDS:  # of what max, sort and their kin return
                node.target, node.args = "operator.getitem", (node.args[0], _FIELDS[attribute])
                base = self.infos[self.current(n.all_input_nodes[0].name)]
                if base.items is not None:
                    self._item(n, node, base, [None, _FIELDS[attribute]])
                return
            if attribute not in ATTRIBUTES:
                raise self.refuse(n, f"attribute {attribute!r} of a tensor", f"use one of {', '.join(ATTRIBUTES)}")
            node.op, node.target, node.args = "attribute", attribute, node.args[:1]
            self._size(n, node, attribute)
            return
        name = f"Tensor.{n.target}" if n.op == "call_method" else name_of(n.target)
        if name is None or name not in OPS:
            raise self.refuse(
                n,
                "no rule for this function",
                "put it in a submodule and name that in leaves=[…]; it is then run whole on each strand",
            )
        op = OPS[name]
        node.target = name
        if not op.inplace and writes(self.root, n):
            drop_inplace(n, node)
        if not self.typed:
            return
        if op.family == "size":
            self._size(n, node, name.rpartition(".")[2])
            return
        args, kwargs, infos = self._types(n)
        first = infos[0] if infos and isinstance(infos[0], Info) else None
        value = self.values[n.name]
        if op.name == "operator.getitem" and first is not None and (first.items is not None or first.kind == "free"):
            self._item(n, node, first, args)
            return
        info = type_call(op, args, kwargs, infos, value)
        self.infos[n.name] = info
        carrying = tensors_in(infos)
        node.rule = op.family if info.carries else "free of the input"
        node.lemma = "T2"
        if info.kind == "stacked" and info.items is None:
            node.stacked = stacked_form(op, args, kwargs, carrying, value) if carrying else ""
            node.lemma = "T5" if node.stacked in ("cat", "flatten", "crop") else "T2"

    def _item(self, n: fx.Node, node: Node, first: Info, args: list[Any]) -> None:
        index = args[1]
        node.rule, node.lemma = "item", "T2"
        if first.items is not None:
            index = first.keys.index(index) if first.keys else index
            self.infos[n.name] = (
                first.items[index] if isinstance(index, int) else Info("stacked", items=first.items[index])
            )
        elif first.varies:  # an entry of a shape
            rank = len(args[0]) if hasattr(args[0], "__len__") else 0
            at = index + rank if isinstance(index, int) and index < 0 else index
            self.infos[n.name] = Info("free", varies=not isinstance(at, int) or at == first.axis)

    def _size(self, n: fx.Node, node: Node, what: str) -> None:
        node.rule, node.lemma = "size", "T2"
        if not self.typed:
            return
        base = n.all_input_nodes[0]
        info = self.infos[self.current(base.name)]
        if not info.carries or what in ("ndim", "dim", "ndimension", "dtype", "device"):
            return
        rest = list(n.args[1:]) + list(n.kwargs.values()) if n.op == "call_method" else []
        dim = rest[0] if what == "size" and rest else None
        if isinstance(dim, int):
            rank = len(info.shape or ())
            self.infos[n.name] = Info("free", varies=dim % rank == info.axis)
        else:
            self.infos[n.name] = Info("free", axis=info.axis, varies=True)

    # -- writing in place ---------------------------------------------------------------------------
    def _written(self, n: fx.Node) -> None:
        """``n`` writes into its first argument: whoever reads that later reads the result instead."""
        target = n.all_input_nodes[0]
        if any(self.current(m.name) != self.current(target.name) for m in self.aliases.read_later(n)):
            raise self.refuse(n, "it writes in place into a view that is read again later", "use the out-of-place form")
        self.redirect[self.current(target.name)] = n.name


def _module_result(module: nn.Module, value: Any, rewrite: rules.Rewrite, first: Info) -> Info:
    """The type of what a layer returns."""
    if isinstance(module, nn.RNNBase):
        out, state = value
        states = state if isinstance(state, tuple) else (state,)
        hidden = tuple(result_info(s, 1) for s in states)
        return Info(
            "stacked",
            items=(
                result_info(out, rewrite.axis),
                Info("stacked", items=hidden) if isinstance(state, tuple) else hidden[0],
            ),
        )
    if isinstance(module, nn.MultiheadAttention):
        out, weights = value
        return Info(
            "stacked", items=(result_info(out, rewrite.axis), FREE if weights is None else result_info(weights, 0))
        )
    if isinstance(module, nn.Embedding):
        return result_info(value, first.axis)
    kept = first.kind == "closed" and rewrite.rule == "pointwise" and first.rep is not None and first.rep.signs is None
    if kept and isinstance(value, Tensor):
        return result_info(value, rewrite.axis, "closed", first.rep)
    return result_info(value, rewrite.axis)


def is_leaf(module: nn.Module, leaves: Sequence[str] = ()) -> bool:
    """Whether tracing keeps ``module`` whole."""
    return Tracer(leaves).is_leaf_module(module, "")


def uses_tied_layers(module: nn.Module) -> bool:
    """Whether the module is RCPS already."""
    return any(isinstance(m, TiedLayer) for m in module.modules())


def map_nodes(value: Any, visit: Callable[[fx.Node], Any]) -> Any:
    """``value`` with every fx node replaced by ``visit(node)``, and fx's immutable containers by ordinary ones."""
    if isinstance(value, fx.Node):
        return visit(value)
    if isinstance(value, tuple):
        return tuple(map_nodes(v, visit) for v in value)
    if isinstance(value, list):
        return [map_nodes(v, visit) for v in value]
    if isinstance(value, dict):
        return {k: map_nodes(v, visit) for k, v in value.items()}
    if isinstance(value, slice):
        return slice(*(map_nodes(v, visit) for v in (value.start, value.stop, value.step)))
    return value


def _listed(infos: Any) -> list[Any]:
    args, kwargs = infos
    return [_only_infos(a) for a in args] + [_only_infos(v) for v in kwargs.values()]


def _only_infos(value: Any) -> Any:
    if isinstance(value, Info):
        return value
    if isinstance(value, tuple | list):
        return [_only_infos(v) for v in value]
    if isinstance(value, dict):
        return [_only_infos(v) for v in value.values()]
    if isinstance(value, slice):
        return [_only_infos(v) for v in (value.start, value.stop, value.step)]
    return FREE


def _deep_infos(value: Any) -> list[Info]:
    if isinstance(value, Info):
        return [value]
    return [i for v in value for i in _deep_infos(v)] if isinstance(value, list | tuple) else []


def _shown(target: Any) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))
