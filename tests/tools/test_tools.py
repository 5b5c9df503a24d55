"""The tools, called as LangChain calls them."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.tools import BaseTool
from langchain_tests.unit_tests import ToolsUnitTests

from markgraph.tools.calculate import calculate, evaluate


class TestCalculateStandard(ToolsUnitTests):
    @property
    def tool_constructor(self) -> BaseTool:
        return calculate()

    @property
    def tool_invoke_params_example(self) -> dict[str, str]:
        return {"expression": "72 / 24"}


@pytest.mark.parametrize(
    ("expression", "value"), [("72/24", 3), ("-2 ** 2", -4), ("(1+2)*3 % 4", 1), ("7 // 2", 3), ("1e3", 1000)]
)
def test_works_out(expression: str, value: float) -> None:
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "", "x", "__import__('os')", "1 if 1 else 2", "'a' * 9", "[1]", "True", "9**9**9", "10**65", "1/0",
        "(-1) ** 0.5", "1" * 300, "-" * 200 + "1" * 100, "1e999", "f'{1}'", "1\n2", "1j", "~1", "(" * 120,
    ],
)  # fmt: skip
def test_refuses(expression: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        evaluate(expression)


@given(st.recursive(
    st.integers(1, 99).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=8,
))  # fmt: skip
def test_agrees_with_exact_arithmetic(expression: str) -> None:
    exact = eval(expression.replace("(", "(").strip(), {"__builtins__": {}}, {})
    assert Fraction(evaluate(expression)) == Fraction(exact)
