"""The checker refuses every false equation tried on it, and says why; its machinery is needed, part by part."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sympy as sp

import rcproof
from rcproof.symbolic import checker
from rcproof.symbolic.arithmetic import Context
from rcproof.symbolic.checker import RULES, Claim, Equation, Proof, Proved, Refused, Step, apply, check, hygienic
from rcproof.symbolic.terms import Add, Big, Elem, Fun, If, Lam, Mul, Op, Term, num
from tests.symbolic.exact import i, j, k, m, n, pi
from tests.symbolic.false_claims import ATTACKS, Attack
from tests.symbolic.rule_cases import case, e, total

f, g = e("f", i), e("g", j)
zero, one = sp.Integer(0), sp.Integer(1)


def claim(lhs: Any, rhs: Any, *ranges: Any, ctx: Context | None = None, given: tuple[Equation, ...] = ()) -> Claim:
    return Claim(Equation("claim", ranges, lhs, rhs), ctx or Context(), given)


def prove(attack: Attack) -> None:
    known = {"one": check(attack.first, Proof())} if attack.first else {}
    check(attack.claim, attack.proof(), known)


# -- false equations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_false_claim_is_refused(attack: Attack) -> None:
    with pytest.raises(Refused, match=attack.says):
        prove(attack)


def test_nobody_forges_a_lemma() -> None:
    forged = Proved(Equation("forged", (), f, g), Context(), ())
    true = check(claim(f, f), Proof())
    for lemma in (forged, replace(true, equation=forged.equation)):
        with pytest.raises(Refused, match="'lemma' has not been proved here"):
            check(claim(f, g), Proof((Step("rewrite", (), ("lemma", {})),)), {"lemma": lemma})


def anything(*_: Any) -> None:
    """What never refuses."""


def wrong_facts(t: Term, at: int, ctx: Context) -> Context:
    """The facts of the first case in both."""
    return ctx.assume(*t.conds) if isinstance(t, If) else ctx


def all_negated(t: Term, at: int, ctx: Context) -> Context:
    """The second case as if every condition failed in it."""
    return ctx.assume(*(-c - 1 for c in t.conds)) if isinstance(t, If) and at == 1 else ctx


def far_range(t: Term, at: int, ctx: Context) -> Context:
    """A bound index one short of its range."""
    return ctx.assume(t.var, t.size - 2 - t.var) if isinstance(t, Big) else ctx


#: What must not be bent: a function of the checker, its twin, and a false claim that then has a proof.
MACHINERY: list[tuple[str, Callable[..., Any], Claim, Proof]] = [
    (
        "_inside",
        wrong_facts,
        claim(case(f, case(g, num(3), i), i), case(f, g, i)),
        Proof((Step("decide", (1,)),)),
    ),
    (
        "_inside",
        all_negated,
        claim(case(f, case(g, num(3), i), i, j), case(f, num(3), i, j)),
        Proof((Step("decide", (1,)),)),
    ),
    (
        "_inside",
        far_range,
        claim(total(i, n, case(f, num(3), n - 2 - i)), total(i, n, f)),
        Proof((Step("decide", (0,)),)),
    ),
    ("hygienic", lambda *_: True, ATTACKS[0].claim, ATTACKS[0].proof()),
    ("meaningful", anything, claim(Mul((num(n), num(1 / n), f)), f), Proof()),
    ("fault", lambda _: "", claim(total(i, n, i), total(j, n, i)), Proof()),
    ("_numbers", anything, claim(num(j * m), num(n), ctx=Context(equal=((j, n / m),))), Proof()),
    ("canonical", lambda t, _: type(t), claim(f, g), Proof()),
    (
        "_quantified",
        anything,
        claim(e("f", 0), num(1), given=(Equation("h", ((i, sp.Rational(1, 2)),), f, num(1)),)),
        Proof((Step("rewrite", (), ("h", {i: zero})),)),
    ),
]


@pytest.mark.parametrize(
    ("name", "twin", "false", "proof"), MACHINERY, ids=[f"{a}-{b.__name__}" for a, b, *_ in MACHINERY]
)
def test_machinery_is_needed(
    name: str, twin: Callable[..., Any], false: Claim, proof: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refused):
        check(false, proof)
    monkeypatch.setattr(checker, name, twin)
    if name == "_quantified":
        monkeypatch.setattr(Context, "entails", lambda self, x: bool(x >= sp.Rational(-1, 2)))
    check(false, proof)


# -- lemmas ---------------------------------------------------------------------------------------------------

HYPOTHESIS = Equation("h", ((i, n),), e("f", i), e("g", i))
CONTEXT = Context(facts=(n - 2, m), equal=((m, n - 1),), involutions=(("pi", n),))
USE = Proof((Step("rewrite", (), ("lemma", {j: one})),))


def lemma() -> Proved:
    proof = Proof((Step("rewrite", (), ("h", {i: pi(j)})),))
    return check(claim(e("f", pi(j)), e("g", pi(j)), (j, n), ctx=CONTEXT, given=(HYPOTHESIS,)), proof)


def test_lemma_is_used_where_its_hypotheses_hold() -> None:
    stronger = replace(CONTEXT, facts=(n - 5,))
    for ctx in (CONTEXT, stronger):
        use = claim(e("f", pi(1)), e("g", pi(1)), ctx=ctx, given=(HYPOTHESIS,))
        assert check(use, USE, {"lemma": lemma()}).given == (HYPOTHESIS,)


@pytest.mark.parametrize(
    ("ctx", "given"),
    [
        (replace(CONTEXT, facts=(m,)), (HYPOTHESIS,)),
        (replace(CONTEXT, equal=((m, n - 2),)), (HYPOTHESIS,)),
        (replace(CONTEXT, involutions=(("pi", m),)), (HYPOTHESIS,)),
        (CONTEXT, ()),
        (CONTEXT, (replace(HYPOTHESIS, rhs=e("g", i + 1)),)),
    ],
)
def test_lemma_is_unknown_where_they_do_not(
    ctx: Context, given: tuple[Equation, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    use = claim(e("f", pi(1)), e("g", pi(1)), ctx=ctx, given=given)
    with pytest.raises(Refused, match="no equation 'lemma' is known"):
        check(use, USE, {"lemma": lemma()})
    monkeypatch.setattr(checker, "_applies", lambda *_: True)  # the twin that does not ask
    if ctx.entails(n - 2):
        check(use, USE, {"lemma": lemma()})


def test_names_of_equations_differ() -> None:
    with pytest.raises(Refused, match="two given equations have one name"):
        check(claim(f, f, given=(HYPOTHESIS, HYPOTHESIS)), Proof())
    with pytest.raises(Refused, match="two equations are called 'h'"):
        check(claim(f, f, ctx=CONTEXT, given=(HYPOTHESIS,)), Proof(), {"h": lemma()})


# -- proofs -----------------------------------------------------------------------------------------------------


def test_steps_on_both_sides_meet() -> None:
    lhs, rhs = total(i, n, e("f", i)), total(j, n, e("f", n - 1 - j))
    check(claim(lhs, rhs), Proof((Step("reverse"),)))
    check(claim(lhs, rhs), Proof(right=(Step("reverse"),)))
    with pytest.raises(Refused, match="do not end at the right side"):
        check(claim(lhs, rhs), Proof())
    with pytest.raises(Refused, match=r"right step 1 \(linear\): the body is neither"):
        check(claim(lhs, rhs), Proof(right=(Step("linear"),)))


def test_cases() -> None:
    lhs = case(f, case(f, num(0), -i - 1), i)
    decide = Step("decide")
    parts = (Proof((decide,)), Proof((decide, decide)))
    proof = Proof(cases=i, parts=parts)
    check(claim(lhs, f), proof)
    assert proof.count() == 3
    for bad, why in (
        (replace(proof, parts=parts[:1]), "has two parts"),
        (replace(proof, parts=parts[::-1]), "decide takes a case"),
        (replace(proof, cases=i / 2), "told apart by an integer"),
        (replace(proof, cases=5), "is not made of"),
        (replace(proof, cases=1 / i), "i may be 0"),
        (Proof(), "do not end at the right side"),
    ):
        with pytest.raises(Refused, match=why):
            check(claim(lhs, f), bad)


def test_start_from_a_known_equation() -> None:
    given = (Equation("h", ((i, n),), case(e("f", i), num(0), i), Mul((num(1), e("g", i)))),)
    ctx = Context(facts=(j, n - 1 - j))
    decided, simplified = (Step("decide"),), (Step("restate", (), (e("g", j),)),)
    proof = Proof(decided, right=simplified, start=("h", {i: j}))
    check(claim(e("f", j), e("g", j), ctx=ctx, given=given), proof)
    assert proof.count() == 3
    with pytest.raises(Refused, match="do not end at the left side"):
        check(claim(e("f", k), e("g", j), ctx=ctx, given=given), proof)
    with pytest.raises(Refused, match="on the right do not end at the right side"):
        check(claim(e("f", j), e("g", k), ctx=ctx, given=given), proof)
    with pytest.raises(Refused, match="does not follow"):
        check(claim(e("f", j), e("g", j), given=given), proof)
    with pytest.raises(Refused, match="each with its own start"):
        check(claim(e("f", j), e("g", j), ctx=ctx, given=given), replace(proof, cases=j, parts=(Proof(), Proof())))
    inner = replace(proof, steps=(Step("decide"),))
    check(claim(e("f", j), e("g", j), ctx=ctx, given=given), Proof(cases=j - 1, parts=(inner, inner)))


def test_steps_that_cannot_be_tried_are_refused() -> None:
    for step, why in (
        (Step("magic"), "no rule 'magic'"),
        (Step("reverse", (0, 0)), "there is no subterm 0"),
        (Step("reverse", (), (1, 2)), "takes 3 positional arguments"),
        (Step("reverse", ("a",)), "there is no subterm a"),
        (Step("split", (), ("n",)), "SympifyError"),
        (Step("split", (), (1.5,)), "does not follow"),
        (Step("restate", (), (5,)), "has no attribute"),
    ):
        with pytest.raises(Refused, match=rf"^step 1 \({step.rule}\): .*{why}"):
            check(claim(total(i, n, e("f", i)), g), Proof((step,)))


def test_a_step_may_not_leave_a_term_without_meaning() -> None:
    lhs, ctx = total(i, n, Mul((num(1 / (i + 1)), f))), Context(facts=(n - 1, m))
    check(claim(lhs, lhs), Proof())
    for step, why in (
        (Step("restate", (), (total(m, n, Mul((num(1 / (m + 1)), e("f", m)))),)), "has the name of another"),
        (Step("split", (), (m - m / 2 + m / 2,)), "does not follow"),
    ):
        with pytest.raises(Refused, match=why):
            check(claim(lhs, lhs, ctx=ctx), Proof((step,)))
    half = Equation("half", (), f, Elem("g", (n / 2,)))
    with pytest.raises(Refused, match="may be a fraction"):
        check(claim(f, f, given=(half,)), Proof((Step("rewrite", (), ("half", {})),)))
    unproved = Equation("share", (), f, num(1 / m))
    with pytest.raises(Refused, match="m may be 0, and a number or an index is divided by it"):
        check(claim(f, f, ctx=ctx, given=(unproved,)), Proof((Step("rewrite", (), ("share", {})),)))
    check(claim(f, num(1 / m), ctx=ctx.assume(m - 1), given=(unproved,)), Proof((Step("rewrite", (), ("share", {})),)))


def test_division_by_what_is_not_zero() -> None:
    """The range of a bound index, the condition of a case, a fact, and a floor."""
    for t in (
        total(i, n, Mul((num(1 / (i + 2)), f))),
        total(i, n, num(1 / (i - n))),
        case(num(1 / i), num(1), i - 1),
        case(num(1), num(1 / i**2), i),
        case(num(1 / (n + 1)), num(0), sp.floor(m / 2)),
        Op("F", (Lam((j,), (n,), num(1 / (j + 1))),), (i,)),
    ):
        check(claim(t, t, ctx=Context(facts=(n,))), Proof())
    for t in (
        total(i, n, Mul((num(1 / i), f))),
        case(num(1), num(1 / i), i, j),
        case(num(1), num(1 / i), i - 1),
        Op("F", (Lam((j,), (n,), num(1 / j)),), (i,)),
        num(sp.floor(n / m)),
    ):
        with pytest.raises(Refused, match="may be 0"):
            check(claim(t, t, ctx=Context(facts=(n,))), Proof())
    shadowed = total(i, 3, Mul((num(1 / i), f)))  # what is known of one i is not known of another
    with pytest.raises(Refused, match="i may be 0"):
        check(claim(shadowed, shadowed, ctx=Context(facts=(i - 1,))), Proof())


def test_what_a_claim_may_quantify() -> None:
    for bad, why in (
        (claim(f, f, (i + 1, n)), "quantifies what is no index"),
        (claim(f, f, (sp.Symbol("x"), n)), "quantifies what is no index"),
        (claim(f, f, (i, n / 2)), "a range of claim may be a fraction"),
        (claim(f, f, (i, sp.sqrt(2) * n)), "a range of claim is not made of"),
        (claim(f, f, (i, sp.floor(n / m))), "m may be 0"),
        (claim(f, f, (i, sp.floor(n / m)), ctx=Context(facts=(m - 1,))), "may be a fraction"),  # to sympy
        (claim(f, f, ctx=Context(facts=(5,))), "a fact is not made of"),
        (claim(f, f, ctx=Context(facts=(1 / n,))), "n may be 0"),
        (claim(f, f, ctx=Context(involutions=(("pi", sp.oo),))), "a fact is not made of"),
        (claim(f, Elem("f", (0,))), "is not made of"),
    ):
        with pytest.raises(Refused, match=why):
            check(bad, Proof())
    check(claim(f, f, (i, sp.floor(n / 2)), ctx=Context(facts=(m - 1,))), Proof())


def test_hygiene() -> None:
    t = total(i, n, Op("F", (Lam((j, k), (n, m), f),), (i,)))
    assert hygienic(t, {n, m})
    assert not hygienic(t, {j})
    assert not hygienic(total(i, n, t), set())


# -- what the rules refuse -----------------------------------------------------------------------------------------

sum_f = total(i, n, e("f", i))
max_f = total(i, n, e("f", i), "max")
cases = case(f, num(0), i - j, j - i)
REFUSALS: list[tuple[str, Term, tuple[Any, ...], str]] = [
    ("reverse", f, (), "only a sum or a maximum has a bound index"),
    ("reindex", f, ("pi",), "only a sum or a maximum has a bound index"),
    ("reindex", sum_f, ("po",), "po is not known to be an involution"),
    ("reindex", total(i, m, f), ("pi",), "pi is an involution of n indices, not of m"),
    ("split", max_f, (one,), "only a sum splits"),
    ("split", sum_f, (m,), "0 ≤ m ≤ n does not follow"),
    ("split", sum_f, (n + 1,), r"0 ≤ n \+ 1 ≤ n does not follow"),
    ("split", sum_f, (n / 2,), "0 ≤ n/2 ≤ n does not follow"),
    ("join", Add((sum_f,)), (), "join takes two sums"),
    ("join", Add((sum_f, max_f)), (), "join takes two sums"),
    ("join", Add((sum_f, total(i, m, f))), (), "the sizes may be negative"),
    ("join", Add((sum_f, sum_f)), (), "the two sums have different bodies"),
    ("linear", max_f, (), "linearity is of sums"),
    ("linear", sum_f, (), "the body is neither a sum nor a product"),
    ("linear", total(i, n, Mul((f, f))), (), "no factor is free of the index"),
    ("collect", Add((sum_f, total(i, m, f))), (), "sums of one range"),
    ("collect", Add((max_f, max_f)), (), "sums of one range"),
    ("collect", Add(()), (), "a product with one sum"),
    ("collect", Mul((sum_f, sum_f)), (), "a product with one sum"),
    ("collect", f, (), "a product with one sum"),
    ("distribute", Mul((f, g)), (), "a product with a sum in it"),
    ("distribute", Add((f, Add((f, g)))), (), "a product with a sum in it"),
    ("exchange", sum_f, (), "two nested sums or maxima"),
    ("exchange", f, (), "two nested sums or maxima"),
    ("exchange", total(i, n, total(j, m, f, "max")), (), "two nested sums or maxima"),
    ("exchange", total(i, n, total(j, i, f)), (), "the inner range depends on the outer index"),
    ("exchange", total(i, n, total(i, m, f)), (), "the inner range depends on the outer index"),
    ("rewrite", f, ("no", {}), "no equation 'no' is known"),
    ("rewrite", f, ("h", {}), r"h needs values for \['i'\]"),
    ("rewrite", f, ("h", {i: m}), "0 ≤ m < n does not follow"),
    ("rewrite", f, ("h", {i: n}), "0 ≤ n < n does not follow"),
    ("rewrite", f, ("h", {i: sp.Rational(1, 2)}), "0 ≤ 1/2 < n does not follow"),
    ("rewrite", f, ("h", {i: zero}), "the subterm is no such instance of h"),
    ("rewrite", e("f", 0), ("h", {i: zero}, True), "the subterm is no such instance of h"),
    ("restate", f, (g,), "not the same term"),
    ("decide", f, (), "decide takes a case distinction"),
    ("decide", cases, (), "the facts do not decide"),
    ("decide", case(f, g, n * m), ((n, m),), "n and m are not known to be ≥ 0"),
    ("decide", case(f, g, n * m), ((m, n),), "m and n are not known to be ≥ 0"),
    ("unscale", f, (i, one, i), "there is no condition i"),
    ("unscale", cases, (m, one, i), "there is no condition m"),
    ("unscale", cases, (i - j, sp.Integer(2), (i - j) / 2), "is no integer"),
    ("unscale", cases, (i - j, one, i), "< 1 does not follow"),
    ("unscale", cases, (i - j, one, i - j - 1), "0 ≤ 1 < 1 does not follow"),
    ("nest", cases, (), "in the first case of another"),
    ("nest", f, (), "in the first case of another"),
    ("nest", case(case(f, g, i), f, j), (), "the other cases differ"),
    ("push", f, (), "an operation on a case distinction"),
    ("push", Lam((k,), (n,), cases), (), "an array is no number"),
    ("push", total(i, n, cases), (), "the condition depends on the bound index"),
    ("sift", sum_f, (j,), "a sum of cases"),
    ("sift", total(i, n, cases, "max"), (j,), "a sum of cases"),
    ("sift", f, (j,), "a sum of cases"),
    ("sift", total(i, n, case(f, g, i - j, j - i)), (j,), "the other case is not zero"),
    ("sift", total(i, n, cases), (i,), "is no integer, or depends"),
    ("sift", total(i, n, cases), (j / 2,), "is no integer, or depends"),
    ("sift", total(i, n, cases), (k,), "do not say i = k"),
    ("sift", total(i, n, case(f, num(0), i - j, k)), (j,), "do not say i = j"),
    ("merge_cases", case(f, g, i), (), "the two cases differ"),
    ("merge_cases", f, (), "the two cases differ"),
]


@pytest.mark.parametrize(("rule", "term", "args", "why"), REFUSALS)
def test_rule_refuses(rule: str, term: Term, args: tuple[Any, ...], why: str) -> None:
    ctx = Context(facts=(n - 1,), involutions=(("pi", n),))
    with pytest.raises(Refused, match=why):
        RULES[rule](term, ctx, {"h": Equation("h", ((i, n),), e("f", i), e("g", i))}, *args)


def test_every_rule_refuses_something() -> None:
    assert {rule for rule, *_ in REFUSALS} == set(RULES)


def test_paths_and_facts_on_the_way() -> None:
    """Every kind of subterm can be reached, with the facts that hold there."""
    inner, a, b = case(e("f", i), num(0), i), e("g", 0), e("g", 1)
    for t, path, want in (
        (total(i, n, inner), (0,), total(i, n, e("f", i))),
        (Op("F", (Lam((i,), (n,), inner),), (j,)), (0, 0), Op("F", (Lam((i,), (n,), e("f", i)),), (j,))),
        (case(inner, b, i), (0,), case(e("f", i), b, i)),
        (case(a, inner, i), (1,), case(a, num(0), i)),
        (Add((a, case(Mul((b, inner)), b, i - 3))), (1, 0, 1), Add((a, case(Mul((b, e("f", i))), b, i - 3)))),
    ):
        assert apply(Step("decide", path), t, Context(), {}) == want
    for t, path in ((Fun("h", (a, inner)), (1,)), (case(a, inner, i, j), (1,))):
        with pytest.raises(Refused, match="do not decide"):
            apply(Step("decide", path), t, Context(), {})


# -- what is trusted, and what it rests on ----------------------------------------------------------------------------

TRUSTED = ("terms", "arithmetic", "checker")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None
            found.add(node.module)
        elif isinstance(node, ast.Call):
            assert getattr(node.func, "id", "") not in ("__import__", "exec", "eval", "import_module")
    return found


@pytest.mark.parametrize(("name", "above"), [(name, TRUSTED[:at]) for at, name in enumerate(TRUSTED)])
def test_trusted_modules_import_each_other_and_sympy_alone(name: str, above: tuple[str, ...]) -> None:
    allowed = {"__future__", "collections.abc", "dataclasses", "fractions", "functools", "typing", "sympy"}
    found = imports(Path(rcproof.__file__).parent / "symbolic" / f"{name}.py")
    assert found <= allowed | {f"rcproof.symbolic.{a}" for a in above}


def test_the_package_of_the_checker_imports_nothing() -> None:
    assert imports(Path(rcproof.__file__).parent / "symbolic" / "__init__.py") == set()


def test_nobody_else_adds_rules_or_lemmas() -> None:
    for path in Path(rcproof.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "rcproof.symbolic.checker":
                assert not {a.name for a in node.names} & {"*", "RULES", "rule", "_PROVED"}, path
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("RULES", "_PROVED"), path
