"""The representation theorem of a given network, assembled from lemmas and replayed by the checker (T5).

A converted network is a list of nodes. For node n let g_n be its map on one strand, a_n and b_n its values on x
and on ρx, and P_n[t] what the RCPS network holds for strand t ∈ {0, 1}, stacked or batched (T1 says that both
hold the pair). The lemma of the node's rule says P_n[t] = g_n(P_m[t], …): the node acts on each strand as the
conjoined network does. By induction over the graph, P_n[0] = a_n and P_n[1] = b_n; then the merge gives both
networks one answer.

Every lemma that a node is an instance of is replayed too (:func:`lemmas_of`). What is trusted here, besides the
checker: that each node is such an instance, as the converter's rule says. The side conditions that can be read off
the graph are checked again in :func:`node_lemma`; torch is not imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Equation, Proof, Proved, Refused, Step, check
from rcproof.symbolic.terms import Elem, Fun, Lam, Op, Term

#: What runs in the batch treats each strand as an example of its own: it is the lift of the map on one strand.
_IN_BATCH = ("T2.lift.equivariant.rank3", "T5.lift")

_POINTWISE = ("T2.pointwise.rank3", "T2.pointwise.rank2", "T2.pointwise.rank3.binary", "T5.residual", "T5.product")

#: The lemmas of a node that runs on stacked tensors, by stacked form and rule. What is not here has none.
_STACKED: dict[tuple[str, str], tuple[str, ...]] = {
    ("tied", "conv"): (
        "T5.conv.tied",
        "T5.conv.mirrored",
        "T5.conv.embedding",
        "T5.conv.own",
        "T5.conv.halves",
        "T5.grouped.halves",
    ),
    ("tied", "transposed conv"): ("T5.transposed.tied", "T5.transposed.halves"),
    ("tied", "linear"): ("T5.linear.tied", "T5.linear.embedding"),
    ("tied", "weighted sum over positions"): ("T5.weighted_sum",),
    ("tied", "batch norm"): ("T5.batch_norm",),
    ("tied", "layer norm"): ("T5.layer_norm.vector", "T5.layer_norm.all", "T5.layer_norm.positions"),
    ("tied", "group norm"): ("T5.group_norm",),
    ("tied", "instance norm"): ("T5.instance_norm",),
    ("tied", "pooling"): ("T5.average.stacked", "T5.average.halves", "T5.maximum.stacked", "T5.maximum.halves"),
    ("tied", "global pooling"): ("T5.global.mean", "T5.global.max"),
    ("tied", "dropout"): ("T2.pointwise.rank3", "T2.pointwise.rank2"),
    ("same", "pointwise"): _POINTWISE,
    ("same", "identity"): _POINTWISE,
    ("same", "cast"): _POINTWISE,
    ("same", "reduce"): ("T5.global.sum", "T5.global.mean", "T5.global.max"),
    ("same", "along"): ("T5.softmax",),
    ("same", "softmax"): ("T5.softmax",),
    ("same", "squeeze"): ("T5.flatten",),
    ("same", "insert"): ("T5.flatten",),
    ("cat", "join"): ("T5.cat",),
    ("flatten", "flatten"): ("T5.flatten",),
    ("flatten", "reshape"): ("T5.flatten",),
    ("crop", "index"): ("T5.crop", "T5.crop.central"),
}

_FORMS = {"", *(form for form, _ in _STACKED)}

#: Calls that ask for a size, which is one number for both strands.
_SIZES = ("size", "dim", "ndimension", "numel", "len")
#: Calls that take no more than a dtype and a device from their second argument.
_CASTS = ("to", "type_as")

_T, _I, _J = sp.symbols("t i j", integer=True)


@dataclass(frozen=True)
class NetworkProof:
    """The replayed proof: its theorem, the lemma of every node, the number of steps, and the statements used."""

    statement: str
    lemmas: tuple[tuple[str, str, str], ...]
    steps: int
    used: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The theorems it rests on."""
        return tuple(sorted({label for _, label, _ in self.lemmas}, key=lambda t: (len(t), t)))


def prove_network(graph: Mapping[str, Any], given_steps: Mapping[str, Any] | None = None) -> NetworkProof:
    """Assemble and check the representation theorem of a converted network.

    ``graph``: the graph as JSON values (:meth:`rcproof.network.graph.Graph.to_json`, or from a file's header).
    ``given_steps``: a proof that travels in a file, from :func:`network_steps`; its steps are then replayed instead of
    those that this module would take. The claims are always this module's own. Raises
    :class:`~rcproof.symbolic.checker.Refused` if a node names no lemma, has a form that its lemma does not cover, or
    a step does not check.
    """
    proof, _ = _prove(graph, given_steps)
    return proof


def network_steps(graph: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The proof of a network as plain JSON values: the steps of every claim, for :func:`prove_network` to replay."""
    return _prove(graph, None, replay=False)[1]


def _prove(
    graph: Mapping[str, Any], given_steps: Mapping[str, Any] | None, replay: bool = True
) -> tuple[NetworkProof, dict[str, list[Any]]]:
    nodes = {n["name"]: n for n in graph["nodes"]}
    sizes = {name: sp.Symbol(f"n_{k}", integer=True) for k, name in enumerate(nodes)}
    context = Context()
    strands = [n for n in graph["nodes"] if n["kind"] in ("closed", "stacked")]
    for node in graph["nodes"]:
        _check_kind(node, nodes)
    known: dict[str, Proved] = {}
    lemmas: list[tuple[str, str, str]] = []
    written: dict[str, list[Any]] = {}
    steps = 0

    def prove(name: str, claim: Claim, proof: Proof) -> None:
        nonlocal steps
        if given_steps is not None:
            proof = _decoded(given_steps.get(name), name)
        known[name] = check(claim, proof, known)
        steps += proof.count()
        written[name] = [_encoded(step) for step in proof.steps]

    given = _definitions(strands, nodes, sizes)
    for node in strands:
        lemmas.append(node_lemma(node))
        for t, letter in ((0, "a"), (1, "b")):
            claim, proof = _node_claim(node, nodes, sizes, context, given, t, letter)
            prove(f"{letter}:{node['name']}", claim, proof)
    merges = [n for n in graph["nodes"] if n["op"] == "merge"]
    if not merges:
        raise Refused("the network has no merge of strands: it is no converted network")
    for node in merges:
        lemmas.append(node_lemma(node))
        claim, proof = _merge_claim(node, nodes, sizes, context, given)
        prove(f"y:{node['name']}", claim, proof)
    if given_steps is not None and set(given_steps) != set(written):
        raise Refused("the proof in the file is of another network")
    used = {name for node in (*strands, *merges) for name in lemmas_of(node)}
    if replay:
        steps += _replay(used)
    text = (
        f"RCPS(Φ(θ))(x) = Conjoined(θ)(x) for every input x: {len(strands)} nodes by induction over the graph, "
        f"{len(merges)} merged outputs, {len(used)} lemmas replayed; what follows the merge is the same in both."
    )
    return NetworkProof(text, tuple(lemmas), steps, tuple(sorted(used))), written


#: Steps of the statements that this process has replayed: they are the same for every network.
_REPLAYED: dict[str, int] = {}

_SYMBOLS = {"t": _T, "i": _I, "j": _J}


def _encoded(step: Step) -> list[Any]:
    """A step as JSON: rule, place, equation, what its variables are, and whether it is read backwards."""
    equation, variables, *backwards = step.args
    return [
        step.rule,
        list(step.path),
        equation,
        {str(k): int(v) if v.is_Integer else str(v) for k, v in variables.items()},
        bool(backwards and backwards[0]),
    ]


def _decoded(items: Any, name: str) -> Proof:
    """The inverse of :func:`_encoded`, for a list of steps from a file, which may hold anything."""
    try:
        steps = []
        for rule, path, equation, variables, backwards in items:
            places = isinstance(path, list) and all(type(p) is int for p in path)
            if not places or type(backwards) is not bool or not isinstance(rule, str) or not isinstance(equation, str):
                raise TypeError("a step that is no step")
            values = {
                _SYMBOLS[k]: sp.Integer(v) if isinstance(v, int) and not isinstance(v, bool) else _SYMBOLS[v]
                for k, v in variables.items()
            }
            steps.append(Step(rule, tuple(path), (equation, values, True) if backwards else (equation, values)))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Refused(f"the proof of {name} in the file is damaged: {type(error).__name__}") from None
    return Proof(tuple(steps))


def node_lemma(node: Mapping[str, Any]) -> tuple[str, str, str]:
    """(node, theorem label, rule), after checking what the graph alone can show."""
    name, rule, label = node["name"], node.get("rule", ""), node.get("lemma", "")
    if not rule or not label:
        raise Refused(f"node {name!r} names no lemma")
    form = node.get("stacked", "")
    if form not in _FORMS:
        raise Refused(f"node {name!r} has an unknown stacked form {form!r}")
    if form == "tied" and node["op"] != "module":
        raise Refused(f"node {name!r}: only a layer can be tied")
    if form and (form, rule) not in _STACKED:
        raise Refused(f"node {name!r}: the stacked form {form!r} is not covered by a lemma of rule {rule!r}")
    return name, label, rule


def lemmas_of(node: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the statements that a node of the graph is an instance of."""
    if node["op"] == "merge":
        name = f"T5.merge.{node['target']}"
        return (name, f"{name}.commutes")
    if node["op"] == "input":
        return ("T1.closed.pair.rank3", "T1.closed.pair.rank2", "T5.closed")
    return _STACKED[node["stacked"], node["rule"]] if node.get("stacked") else _IN_BATCH


def _replay(names: set[str]) -> int:
    """Replay statements by name; how many steps that took."""
    from rcproof.symbolic.theorems import theorems

    found = {s.name: s for t in theorems(["T1", "T2", "T5"]) for s in t.statements}
    missing = sorted(names - set(found))
    if missing:
        raise Refused(f"no statement {missing[0]!r} is known")
    for name in names - set(_REPLAYED):
        _REPLAYED[name] = found[name].replay().steps
    return sum(_REPLAYED[name] for name in names)


def _check_kind(node: Mapping[str, Any], nodes: Mapping[str, Any]) -> None:
    """What is said to be the same for both strands must not read a strand (but its sizes: they are equal)."""
    reads = {nodes[r]["kind"] for r in _refs(node)}
    asks_size = node["op"] == "attribute" or (node["op"] == "call" and node["target"].rpartition(".")[2] in _SIZES)
    if node["op"] == "merge" or (node["kind"] == "free" and asks_size):
        return
    casts = node["op"] == "call" and node["target"].rpartition(".")[2] in _CASTS
    if casts and node["kind"] == "free" and nodes[_refs(node)[0]]["kind"] == "free":
        return  # the other argument gives a dtype and a device
    if node["kind"] in ("free", "merged") and reads & {"closed", "stacked"}:
        raise Refused(
            f"node {node['name']!r} is said to be {node['kind']}, but reads a value that depends on the strand"
        )
    if node["kind"] in ("closed", "stacked", "free") and "merged" in reads:
        raise Refused(f"node {node['name']!r} reads a merged value before the merge")


def _refs(node: Mapping[str, Any]) -> list[str]:
    """Names of the nodes it reads, in order, each once."""
    found: dict[str, None] = {}

    def visit(value: Any) -> None:
        if isinstance(value, dict):
            if set(value) == {"ref"}:
                found[value["ref"]] = None
            else:
                for v in value.values():
                    visit(v)
        elif isinstance(value, list):
            for v in value:
                visit(v)

    visit([node.get("args", []), node.get("kwargs", {})])
    return list(found)


def _strand_refs(node: Mapping[str, Any], nodes: Mapping[str, Any]) -> list[str]:
    """The arguments that depend on the strand; what is free of the input is part of g_n."""
    return [r for r in _refs(node) if nodes[r]["kind"] in ("closed", "stacked")]


def _array(name: str, refs: list[str], sizes: Mapping[str, Any], first: tuple[Any, ...]) -> tuple[Lam, ...]:
    """The arguments of an operator: arrays ``name:ref`` as functions of one flattened index."""
    return tuple(Lam((_J,), (sizes[r],), Elem(f"{name}:{r}", (*first, _J))) for r in refs)


def _definitions(strands: list[Any], nodes: Mapping[str, Any], sizes: Mapping[str, Any]) -> tuple[Equation, ...]:
    """a_n and b_n by recursion, and the lemma of every node as an equation of P_n."""
    found = []
    for n in strands:
        name, refs = n["name"], _strand_refs(n, nodes)
        size = sizes[name]
        pair = Elem(f"P:{name}", (_T, _I))
        if n["op"] == "input":
            # The pair of a closed input: itself, and its ρ-image.
            for t, letter, array in ((0, "a", f"x:{name}"), (1, "b", f"ρx:{name}")):
                source = Elem(array, (_I,))
                found.append(Equation(f"def {letter}:{name}", ((_I, size),), Elem(f"{letter}:{name}", (_I,)), source))
                found.append(Equation(f"T1 P{t}:{name}", ((_I, size),), Elem(f"P:{name}", (sp.Integer(t), _I)), source))
            continue
        for letter in ("a", "b"):
            value = Op(f"g:{name}", _array(letter, refs, sizes, ()), (_I,))
            found.append(Equation(f"def {letter}:{name}", ((_I, size),), Elem(f"{letter}:{name}", (_I,)), value))
        lifted = Op(f"g:{name}", _array("P", refs, sizes, (_T,)), (_I,))
        found.append(Equation(f"lemma {name}", ((_T, sp.Integer(2)), (_I, size)), pair, lifted))
    return tuple(found)


def _node_claim(
    node: Mapping[str, Any],
    nodes: Mapping[str, Any],
    sizes: Mapping[str, Any],
    context: Context,
    given: tuple[Equation, ...],
    t: int,
    letter: str,
) -> tuple[Claim, Proof]:
    """P_n[t] = a_n (or b_n): unfold the node's lemma, use the induction hypotheses, fold the definition."""
    name = node["name"]
    strand = sp.Integer(t)
    equation = Equation(
        f"{letter}:{name}", ((_I, sizes[name]),), Elem(f"P:{name}", (strand, _I)), Elem(f"{letter}:{name}", (_I,))
    )
    fold = Step("rewrite", (), (f"def {letter}:{name}", {_I: _I}, True), f"the definition of {letter}")
    if node["op"] == "input":
        first = Step("rewrite", (), (f"T1 P{t}:{name}", {_I: _I}), "a closed input is the pair (x, ρx)")
        return Claim(equation, context, given), Proof((first, fold))
    refs = _strand_refs(node, nodes)
    unfold = Step("rewrite", (), (f"lemma {name}", {_T: strand, _I: _I}), f"{node['lemma']}: {node['rule']}")
    inner = [
        Step("rewrite", (k, 0), (f"{letter}:{r}", {_I: _J}), f"induction hypothesis for {r}")
        for k, r in enumerate(refs)
    ]
    return Claim(equation, context, given), Proof((unfold, *inner, fold))


def _merge_claim(
    node: Mapping[str, Any],
    nodes: Mapping[str, Any],
    sizes: Mapping[str, Any],
    context: Context,
    given: tuple[Equation, ...],
) -> tuple[Claim, Proof]:
    """merge(P_out[0], ρ_out P_out[1]) = merge(a_out, ρ_out b_out)."""
    (out,) = _refs(node)
    size, out_size = sizes[node["name"]], sizes[out]

    def merged(own: Term, other: Term) -> Term:
        rho = Op(f"ρ_out {node.get('rep')}", (Lam((_J,), (out_size,), other),), (_I,))
        return Fun(f"merge {node['target']}", (own, rho))

    def pair(index: Any) -> tuple[Term, Term]:
        return Elem(f"P:{out}", (sp.Integer(0), index)), Elem(f"P:{out}", (sp.Integer(1), index))

    lhs = merged(pair(_I)[0], pair(_J)[1])
    rhs = merged(Elem(f"a:{out}", (_I,)), Elem(f"b:{out}", (_J,)))
    same = Context((*context.facts, size - out_size, out_size - size), context.equal, context.involutions)
    steps = (
        Step("rewrite", (0,), (f"a:{out}", {_I: _I}), "strand 0 holds the value on x"),
        Step("rewrite", (1, 0, 0), (f"b:{out}", {_I: _J}), "strand 1 holds the value on ρx"),
    )
    return Claim(Equation(f"y:{node['name']}", ((_I, size),), lhs, rhs), same, given), Proof(steps)
