"""T7: coupling. In a coupled layer V = [A, B], A reads the same strand and B the other; B = 0 is conjoined.

For a set S of coupled layers, Net_S is the class of networks in which the layers in S have free V and the
others B = 0. Layer lemmas, for all sizes, strides, dilations and paddings with centred windows:

- (T7.layer) a tied convolution is stack(conv_V(x), conv_V(ρx)), for every x: so it commutes with ρ
  (T7.layer.equivariant), whatever V is. Networks are compositions of such layers and of lifts (T2), hence
  Net_S is equivariant for every S. The paper's block construction, "run the block on x and on ρx and stack the
  answers", is the coupled layer that begins the block, followed by lifts (T7.block).
- (T7.uncoupled) with B = 0 a coupled layer is the layer A on each strand. So S ⊆ S′ gives Net_S ⊆ Net_S′: take
  B = 0 in S′ \\ S, layer by layer, whatever stands around the layer (T7.monotone). Net_∅ is conjoined, by
  T7.monotone for every layer; Net_all is RCPS, by definition.

Counts along the lattice are in :mod:`rcproof.symbolic.costs`, and so is averaging before and after a nonlinearity.
"""

from __future__ import annotations

from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import Claim, Proof, Proved, Step, check
from rcproof.symbolic.costs import AVERAGING, COUNTS
from rcproof.symbolic.shorthand import HALF, ZERO, add, elem, equation, integers, mul, restate, step, total, use, where
from rcproof.symbolic.statements import Statement, proved
from rcproof.symbolic.strands import Read, array, stack
from rcproof.symbolic.tactics import at
from rcproof.symbolic.terms import Index, Lam, Op, Term
from rcproof.symbolic.windows import (
    CENTRED,
    PI_IN,
    POSITIVE,
    SIGNS_IN,
    C,
    K,
    L,
    N,
    act_in,
    c,
    conv,
    d,
    i,
    k,
    o,
    p,
    s,
    sigma,
    window_sum,
)

F, G, P, m = integers("F G P m")
NEW = "not in the paper"
GENERAL = Context((*POSITIVE[:1], *POSITIVE[2:], F - 1), (CENTRED,), (("pi_in", C),))
#: Strand pairs of G channels in, F out; no windows need be centred for one strand alone.
STRANDS = Context((F - 1, G - 1, *POSITIVE[2:]))
V, BIAS, X, WA, WB = array("V"), array("bias"), array("x"), array("A"), array("B")
ONE_STRAND = ((o, F), (i, N))


def tie(v: Read) -> Read:
    """tie(V), and tie(b): the mirror has σ(π(c)), which is σ(c) for signs of ±1."""

    def entry(o: Index, *rest: Index) -> Term:
        other = 2 * F - 1 - o
        if not rest:
            return where((F - 1 - o,), v(o), v(other))
        c, k = rest
        return where((F - 1 - o,), v(o, c, k), mul(sigma(PI_IN(c)), v(other, PI_IN(c), K - 1 - k)))

    return entry


def tied_conv(x: Read) -> Read:
    """The layer: an ordinary convolution with weights tie(V) and biases tie(b)."""
    return conv(tie(V), x, tie(BIAS))


def free_conv(x: Read) -> Read:
    """conv_V: one strand's half of it."""
    return conv(V, x, BIAS)


_THERE = (2 * F - 1 - o, N - 1 - i)
_PICK = (
    step("decide", 0, 0, 0, 0, 0, note="the half of the weights that this output has"),
    step("decide", 1, note="the half of the biases"),
)
_TURN = (step("reindex", 0, args=("pi_in",), note="sum over π(c)"), step("reverse", 0, 0, note="sum over K−1−k"))
OWN = (
    Claim(equation("own", ONE_STRAND, tied_conv(X)(o, i), free_conv(X)(o, i)), GENERAL),
    Proof(_PICK),
)
OTHER = (
    Claim(equation("other", ONE_STRAND, tied_conv(X)(*_THERE), free_conv(act_in(X))(o, i)), GENERAL),
    Proof((*_PICK, *_TURN)),
)


def _layer() -> dict[str, Proved]:
    return {"own": check(*OWN), "other": check(*OTHER)}


_READ = X(c, s * (N - 1 - i) + d * k - p)
_SQUARE = mul(mul(sigma(c), sigma(PI_IN(c))), V(2 * F - 1 - o, c, k), _READ)
EQUIVARIANT = (
    Claim(
        equation("equivariant", ((o, 2 * F), (i, N)), tied_conv(act_in(X))(o, i), tied_conv(X)(*_THERE)),
        GENERAL,
        (SIGNS_IN,),
    ),
    Proof(
        cases=F - 1 - o,
        parts=(
            Proof(_PICK, right=(use("other", values={o: o, i: i}, note="T7.layer.other"),)),
            Proof(
                (
                    *_PICK,
                    *_TURN,
                    restate(_SQUARE, 0, 0, 0, 0, note="π(π(c)) = c; the window, mirrored twice"),
                    use("signs_in", 0, 0, 0, 0, 0, values={c: c}, note="σ(c)·σ(π(c)) = 1"),
                ),
                right=_PICK,
            ),
        ),
    ),
)


# -- strands ------------------------------------------------------------------------------------------------


def joined(a: Read, b: Read) -> Read:
    """[A, B] as one array over 2G inputs."""
    return lambda o, c, k: where((G - 1 - c,), a(o, c, k), b(o, c - G, k))


def mirrored_strand(b: Read) -> Read:
    """ρb for one strand of G channels."""
    return lambda c, j: b(G - 1 - c, L - 1 - j)


def coupled(a: str, b: str) -> Read:
    """conv_[A, B](stack(a, b)): the coupled layer, as the strand a sees it."""
    weights, x = joined(WA, WB), stack(a, b, G, L)
    return lambda o, i: add(window_sum(weights, x, o, i, -p, 2 * G), BIAS(o))


def one_strand(a: str) -> Read:
    """conv_A(a)."""
    return lambda o, i: add(window_sum(WA, array(a), o, i, -p, G), BIAS(o))


APART = (
    step("split", 0, args=(G,), note="own channels, then the other strand's"),
    *(
        step("decide", 0, half, 0, 0, 0, factor, note=note)
        for half, note in ((0, "c < G: A and a"), (1, "c ≥ G: B and ρb"))
        for factor in (0, 1)
    ),
)
NO_B = equation("uncoupled", ((o, F), (c, G), (k, K)), WB(o, c, k), ZERO)
VANISH = (
    use("uncoupled", 0, 1, 0, 0, 0, 0, values={o: o, c: c, k: k}, note="B = 0"),
    step("merge_cases", 0, 1, 0, 0, note="0 where the tap reads an input, and 0 elsewhere"),
    step("linear", 0, 1, 0, note="Σ 0 = 0"),
    step("linear", 0, 1, note="Σ 0 = 0"),
)


def _latent(name: str, *strands: Term) -> Op:
    """The rest of the network: any map of the two strands' answers."""
    return Op(name, tuple(Lam((o, i), (F, N), t) for t in strands), (m,))


LAYER = (
    proved(
        "T7.layer.own",
        "The first half of a tied convolution is conv_V(x).",
        r"\mathrm{conv}_{\mathrm{tie}(V)}(x)_{o,i}=\mathrm{conv}_V(x)_{o,i}\quad(o<F)",
        *OWN,
        source="paper, section 2.1",
    ),
    proved(
        "T7.layer.other",
        "The second half, mirrored, is conv_V(ρx): a tied convolution is stack(conv_V(x), conv_V(ρx)), for every x.",
        r"\mathrm{conv}_{\mathrm{tie}(V)}(x)_{2F-1-o,\,N-1-i}=\mathrm{conv}_V(\rho x)_{o,i}",
        *OTHER,
        hypotheses=("windows centred: s(N−1) + d(K−1) + 1 = L + 2p", "ρ_in is a signed involution, reverses positions"),
        source=NEW,
    ),
    proved(
        "T7.layer.equivariant",
        "A tied convolution commutes with ρ for every V = [A, B]: coupling costs no equivariance.",
        r"\mathrm{conv}_{\mathrm{tie}(V)}(\rho x)=\rho\,\mathrm{conv}_{\mathrm{tie}(V)}(x)",
        *EQUIVARIANT,
        hypotheses=("windows centred", "σ(c)·σ(π(c)) = 1"),
        known=_layer,
        source="paper, section 2.1",
    ),
    proved(
        "T7.block",
        "The paper's block construction: the second answer, the block h = r∘conv_V run on ρx, is r applied to "
        "the other strand of the coupled layer. So a block costs one coupled layer, and the rest of it is lifted.",
        r"(r\circ\mathrm{conv}_V)(\rho x)=r\bigl(\mathrm{unstack}_2\,\mathrm{conv}_{\mathrm{tie}(V)}(x)\bigr)",
        Claim(
            equation(
                "block",
                ((m, P),),
                _latent("r", free_conv(act_in(X))(o, i)),
                _latent("r", tied_conv(X)(*_THERE)),
            ),
            Context((*GENERAL.facts, P - 1), GENERAL.equal, GENERAL.involutions),
        ),
        Proof(right=(use("other", 0, 0, values={o: o, i: i}, note="T7.layer.other, under r"),)),
        hypotheses=("r, the rest of the block, is any map", "windows centred"),
        known=_layer,
        source="the construction is the paper's; that it is a choice of S is not in the paper",
    ),
)

SETS = (
    proved(
        "T7.strands",
        "On a strand pair, V = [A, B]: the layer gives conv_A(a) + conv_B(ρb). B is the coupling.",
        r"\mathrm{conv}_{[A,B]}(\mathrm{stack}(a,b))=\mathrm{conv}_A(a)+\mathrm{conv}_B(\rho b)",
        Claim(
            equation(
                "strands",
                ONE_STRAND,
                coupled("a", "b")(o, i),
                add(
                    window_sum(WA, array("a"), o, i, -p, G),
                    window_sum(WB, mirrored_strand(array("b")), o, i, -p, G),
                    BIAS(o),
                ),
            ),
            STRANDS,
        ),
        Proof(APART),
        source=NEW,
    ),
    proved(
        "T7.uncoupled",
        "With B = 0 a coupled layer is the conjoined layer on each strand: conv_[A,0](stack(a, b)) = conv_A(a).",
        r"\mathrm{conv}_{[A,0]}(\mathrm{stack}(a,b))=\mathrm{conv}_A(a)",
        Claim(equation("apart", ONE_STRAND, coupled("a", "b")(o, i), one_strand("a")(o, i)), STRANDS, (NO_B,)),
        Proof((*APART, *VANISH)),
        hypotheses=("B = 0",),
        source="paper (that RCPS represents conjoined networks)",
    ),
    proved(
        "T7.monotone",
        "Inside any network: replacing an uncoupled layer by the coupled one with B = 0 changes nothing, whatever "
        "comes before (a, b are any arrays) and after (h is any map). So S ⊆ S′ ⇒ Net_S ⊆ Net_S′, layer by layer.",
        r"h\bigl(\mathrm{conv}_{[A,0]}(a,b),\mathrm{conv}_{[A,0]}(b,a)\bigr)"
        r"=h\bigl(\mathrm{conv}_A(a),\mathrm{conv}_A(b)\bigr)",
        Claim(
            equation(
                "monotone",
                ((m, P),),
                _latent("h", coupled("a", "b")(o, i), coupled("b", "a")(o, i)),
                _latent("h", one_strand("a")(o, i), one_strand("b")(o, i)),
            ),
            Context((*STRANDS.facts, P - 1)),
            (NO_B,),
        ),
        Proof((*at((0, 0), (*APART, *VANISH)), *at((1, 0), (*APART, *VANISH)))),
        hypotheses=("B = 0 in the layer that S′ couples and S does not",),
        source=NEW,
    ),
)


# -- the last layer ------------------------------------------------------------------------------------------


def _dense(a: str, b: str) -> Term:
    """A dense coupled layer on the strand vectors a, b of G features: the stacked order has b backwards."""
    own = total(mul(elem("A", o, c), elem(a, c)), (c, G))
    other = total(mul(elem("B", o, c), elem(b, G - 1 - c)), (c, G))
    return add(own, other, elem("bias", o))


def _merged_weights() -> Term:
    weights = add(elem("A", o, c), elem("B", o, G - 1 - c))
    return add(total(mul(HALF, weights, add(elem("a", c), elem("b", c))), (c, G)), elem("bias", o))


_BIAS = elem("bias", o)
LAST = proved(
    "T7.last_layer",
    "Under a mean merge, coupling a linear last layer adds no functions: the mean of both strands is the uncoupled "
    "layer with weights A + B̃ (B̃ is B with its columns in the other order), applied to ½(a + b).",
    r"\tfrac12\bigl(y(a,b)+y(b,a)\bigr)_o=\sum_c\tfrac12(A_{o,c}+B_{o,G-1-c})(a_c+b_c)+\mathrm{bias}_o",
    Claim(
        equation("last", ((o, F),), mul(HALF, add(_dense("a", "b"), _dense("b", "a"))), _merged_weights()),
        Context((F - 1, G - 1)),
    ),
    Proof(
        (
            step("reverse", 1, 0, 1, note="B in the other order"),
            step("reverse", 1, 1, 1, note="B in the other order"),
            step("distribute"),
            step("distribute", 0),
            step("distribute", 1),
        ),
        right=(
            step("distribute", 0, 0),
            step("distribute", 0, 0, 0),
            step("distribute", 0, 0, 1),
            step("linear", 0),
            *(Step("linear", (0, half), (), "sums apart") for half in (0, 1)),
            *(Step("linear", (0, half, part), (), "½ to the front") for half in (0, 1) for part in (0, 1)),
            restate(mul(add(HALF, HALF), _BIAS), 1, note="1 = ½ + ½"),
            step("distribute", 1),
        ),
    ),
    hypotheses=("the output is invariant and the merge is the mean",),
    source=NEW,
)

STATEMENTS: dict[str, tuple[Statement, ...]] = {"T7": (*LAYER, *SETS, LAST, *COUNTS, *AVERAGING)}
