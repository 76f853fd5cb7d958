"""Numbers are compared in one way, which sees what it is there for."""

import ast
from pathlib import Path

import numpy as np
import pytest
import tolerances
import torch

TESTS = Path(__file__).parent
# What a tolerance of its own could hide in.
_OTHER_WAYS = {
    *("assert_allclose", "assert_almost_equal", "assert_array_almost_equal", "assert_approx_equal"),
    *("assert_array_max_ulp", "assert_array_almost_equal_nulp", "approx", "allclose", "isclose"),
    *("assertAlmostEqual", "assert_almost_equals"),
}
_SMALL = 1e-2


@pytest.mark.parametrize(
    ("actual", "expected", "says"),
    [
        # numpy adds a part of 1e-7 of the expected number to what it is given.
        (1e6 + 0.01, 1e6, r"differ by more than 1e-09, most by 0.01"),
        ([1.0, 2.0, 3.1], [1.0, 2.0, 3.0], r"1 of 3 .* most by 0.1 at \(2,\): .*3.1.*, expected"),
        # A wrong axis is not stretched to the right one.
        (np.ones(3), np.ones((2, 3)), r"shape \(3,\), expected \(2, 3\)"),
        (np.ones((2, 3)), np.ones(3), r"shape \(2, 3\), expected \(3,\)"),
        (np.ones(1), np.ones(3), r"shape \(1,\), expected \(3,\)"),
        (1.0, np.ones(3), r"shape \(\), expected \(3,\)"),
        (np.ones((1, 3)), np.ones(3), r"shape \(1, 3\), expected \(3,\)"),
        ([np.nan, 1.0], [1.0, np.nan], r"NaN in one of the two only, first at \(0,\)"),
        ([1.0, np.nan], [1.0, 1.0], r"NaN in one of the two only, first at \(1,\)"),
        ([1.0, 1.0], [1.0, np.nan], r"NaN in one of the two only, first at \(1,\)"),
        (np.nan, np.inf, "NaN in one of the two only"),
        (np.inf, -np.inf, "infinity in one of the two only"),
        (np.inf, 1e308, "infinity in one of the two only"),
        (1e308, np.inf, "infinity in one of the two only"),
        (torch.ones(2), torch.ones(2).double(), "tensors of two dtypes"),
        (torch.ones(2, 1), torch.ones(2), r"shape \(2, 1\), expected \(2,\)"),
        (torch.tensor([1.0, 2.0]), [1.0, 2.5], "most by 0.5"),
    ],
)
def test_what_is_not_close_is_noticed(actual, expected, says):
    with pytest.raises(AssertionError, match=says):
        tolerances.assert_close(actual, expected, tolerances.SCORE)
    with pytest.raises(AssertionError, match=f"here: .*{says}"):
        tolerances.assert_close(actual, expected, tolerances.SCORE, name="here")


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (1.0, 1),
        ([1.0, np.nan, np.inf, -np.inf], np.array([1.0, np.nan, np.inf, -np.inf])),
        (torch.tensor([1.0, torch.nan]), np.array([1.0, np.nan])),
        (torch.ones(2, dtype=torch.bfloat16), [1, 1]),
        (torch.ones(2, requires_grad=True), torch.ones(2)),
        (np.ones((2, 3)), 1.0),
        (np.full(2, np.nan), np.nan),
        (np.ones((0, 3)), np.ones((0, 3))),
        ([1 + 0.9e-9], [1.0]),
        (1 - 0.9e-9, 1.0),
    ],
)
def test_what_is_close_passes(actual, expected):
    tolerances.assert_close(actual, expected, tolerances.SCORE)
    tolerances.assert_same(actual, expected)


def test_relative_is_to_the_largest_finite_number():
    expected = np.array([1e6, 1.0, np.nan, -np.inf])
    shift = np.array([0, 1e-4, 0, 0])
    tolerances.assert_close(expected + shift, expected, tolerances.SCORE, relative=True)
    with pytest.raises(AssertionError, match=r"more than 0.001, most by 0.01 at \(1,\)"):
        tolerances.assert_close(expected + 100 * shift, expected, tolerances.SCORE, relative=True)
    # Nothing is close to nothing but nothing itself.
    tolerances.assert_close(0.0, 0.0, tolerances.SCORE, relative=True)
    with pytest.raises(AssertionError, match="more than 0, most by"):
        tolerances.assert_close(1e-300, 0.0, tolerances.SCORE, relative=True)


def test_a_bound_that_is_no_number_is_met_by_nothing():
    with pytest.raises(AssertionError, match="more than nan"):
        tolerances.assert_close(1.0, 1.0, np.nan)


@pytest.mark.parametrize("least", [0.9, 1.1])
def test_the_bound_itself(least):
    """What is off by less passes, what is off by more does not, at each place of an array."""
    expected = np.linspace(-1, 1, 6).reshape(2, 3)
    for place in np.ndindex(2, 3):
        actual = expected.copy()
        actual[place] += least * tolerances.SCORE
        if least < 1:
            tolerances.assert_close(actual, expected, tolerances.SCORE)
            continue
        with pytest.raises(AssertionError, match=rf"1 of 6 .* at \({place[0]}, {place[1]}\)"):
            tolerances.assert_close(actual, expected, tolerances.SCORE)


@pytest.mark.cuda
def test_tensors_of_two_devices():
    tolerances.assert_close(torch.ones(3).cuda(), torch.ones(3), tolerances.SCORE)
    with pytest.raises(AssertionError, match="most by 1"):
        tolerances.assert_close(torch.zeros(3).cuda(), torch.ones(3).cuda(), tolerances.SCORE)


def _small(node: ast.AST) -> bool:
    """Whether a number that is written out below ``node`` is as small as a tolerance."""
    return any(
        isinstance(part, ast.Constant) and isinstance(part.value, float) and 0 < part.value < _SMALL
        for part in ast.walk(node)
    )


def _own_tolerances(source: str):
    """Line and text of every comparison by another function, or by a number that has no name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            name = function.rsplit(".", 1)[-1]
            if name in _OTHER_WAYS:
                yield node.lineno, function
            if name == "assert_close":
                if function not in ("assert_close", "tolerances.assert_close"):
                    yield node.lineno, function
                within = [*node.args[2:], *(k.value for k in node.keywords if k.arg == "within")]
                if any(map(_small, within)):
                    yield node.lineno, ast.unparse(within[0])
        elif isinstance(node, ast.ImportFrom) and node.module != "tolerances":
            for alias in node.names:
                if alias.name in {*_OTHER_WAYS, "assert_close"}:
                    yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Compare) and any(map(_small, [node.left, *node.comparators])):
            yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize(
    "path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS))
)
def test_no_test_has_tolerances_of_its_own(path):
    if path in (Path(__file__), TESTS / "tolerances.py"):
        return
    found = [f"{path}:{line}: {text}" for line, text in _own_tolerances(path.read_text("utf-8"))]
    assert not found, "take assert_close and a name from tests/tolerances.py: " + "; ".join(found)


@pytest.mark.parametrize(
    "code",
    [
        "np.testing.assert_allclose(a, b)",
        "np.testing.assert_allclose(a, b, rtol=0, atol=tolerances.SCORE)",
        "torch.testing.assert_close(a, b)",
        "assert a == pytest.approx(b)",
        "assert np.allclose(a, b)",
        "assert torch.isclose(a, b).all()",
        "from torch.testing import assert_close",
        "from numpy.testing import assert_allclose",
        "tolerances.assert_close(a, b, 1e-9)",
        "assert_close(a, b, within=2 * 1e-9)",
        "assert_close(a, b, 1e-9 if mixed else tolerances.SCORE)",
        "assert abs(a - b) < 1e-9",
        "assert (np.abs(a - b) <= 0.001).all()",
        "assert a <= b + 1e-9",
        "assert a < b * (1 + 1e-6)",
    ],
)
def test_the_check_sees_what_it_looks_for(code):
    assert list(_own_tolerances(code))


@pytest.mark.parametrize(
    "code",
    [
        "tolerances.assert_close(a, b, tolerances.SCORE)",
        "assert_close(a, b, 4 * SCORE, relative=True)",
        "assert_close(a, 1e-9, SCORE)",
        "assert_close(a, b, 0)",
        "np.testing.assert_array_equal(a, b)",
        "from tolerances import assert_close",
        "score_map(X, y, alpha=1e-9)",
        "assert a > 0.05",
    ],
)
def test_the_check_sees_nothing_else(code):
    assert not list(_own_tolerances(code))
