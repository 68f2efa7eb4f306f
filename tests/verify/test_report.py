import io
import json
import math

import pytest
from rich.console import Console

from rcproof.errors import VerificationError
from rcproof.verify import Check, Report

GOOD = Check.of("one-hot: output[0]", 1e-15, 1e-12)
BAD = Check.of("zeros: output[0]", 0.25, 1e-12, "all of it")
NAN = Check.of("random: output[0]", math.nan, 1e-12)


def test_a_check_holds_only_if_its_error_is_small():
    assert GOOD.passed
    assert not BAD.passed
    assert not NAN.passed
    assert not Check.of("x", math.inf, math.nan).passed
    assert not Check.failure("x", "why").passed


def test_an_empty_report_has_not_passed():
    report = Report("nothing", ())
    assert not report.passed
    assert math.isnan(report.worst)
    with pytest.raises(VerificationError) as error:
        report.raise_if_failed()
    assert str(error.value) == "nothing: nothing was checked. Give at least one input"


def test_raise_if_failed():
    passed = Report("t", (GOOD,))
    assert passed.raise_if_failed() is passed
    with pytest.raises(VerificationError) as error:
        Report("equivalence", (GOOD, BAD, NAN)).raise_if_failed()
    assert str(error.value) == (
        "equivalence: 2 of 3 checks failed: got zeros: output[0]: error 2.50e-01 > 1e-12 (all of it); "
        "random: output[0]: error nan not <= 1e-12"
    )
    with pytest.raises(VerificationError, match=r"5 of 5 checks failed.*; and 2 more$"):
        Report("t", (BAD,) * 5).raise_if_failed()


def test_json_is_strict():
    report = Report("t", (GOOD, NAN, Check.failure("x", "why")), facts={"dtype": "float64"}, notes=("n",), seed=7)
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert [c["error"] for c in found["checks"]] == [1e-15, "nan", "inf"]
    assert (found["passed"], found["worst"], found["seed"], found["notes"]) == (False, "inf", 7, ["n"])
    assert set(found["environment"]) == {"rcproof", "torch", "python", "system", "threads"}


def test_text():
    text = str(Report("equivalence", (GOOD, BAD), facts={"dtype": "float64"}, notes=("odd",)))
    lines = text.splitlines()
    assert lines[0] == "equivalence: FAILED (2 checks, seed 0)"
    assert lines[1] == "  dtype: float64"
    assert lines[2] == "  ok   one-hot: output[0]: error 1.00e-15 <= 1e-12"
    assert lines[3] == "  FAIL zeros: output[0]: error 2.50e-01 > 1e-12 (all of it)"
    assert lines[4] == "  note: odd"
    assert "torch 2" in lines[5]


def test_table_keeps_brackets():
    out = io.StringIO()
    Report("equivalence", (GOOD, BAD), notes=("see output[1]",)).print(Console(file=out, width=120))
    assert "one-hot: output[0]" in out.getvalue()
    assert "note: see output[1]" in out.getvalue()
    assert "FAILED" in out.getvalue()
