"""The error index: each message on the page is raised, and each message of the code is on the page."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oracles.errors.page import CASES, PAGE, entries, messages, place_in, shown

SOURCE = Path(__file__).parents[1] / "src" / "easydel"
KINDS = ("ConfigError", "DataError", "WeightsError", "FlagError")
# Errors that are not on the page: the module, how they begin ("" for all of it), and why.
LEFT_OUT = (
    ("ops/attention.py", "attn_mechanism .* has no", "a mechanism is chosen that can do what the model needs"),
    ("ops/mechanism.py", "only attn_mechanism 'vanilla' has", "as above"),
    ("data/pack.py", "", "shapes are chosen from the pairs"),
    ("data/shapes.py", "", "shapes are chosen from the pairs"),
    ("weights/safetensors.py", "Writing ", "what is written is counted beforehand"),
    ("launch/ray.py", "", "needs a cluster; tests/launch/test_ray.py raises it"),
    (
        "data/tokenize_rows.py",
        "a process of dataset_num_proc",
        "a process must be killed; tests/data/test_tokenize_rows.py does",
    ),
    ("trainers/hub.py", "", "needs a hub; tests/trainers/test_export.py has one on loopback"),
    ("scripts/harness.py", "", "needs the extra eval"),
    ("scripts/evaluate.py", "", "needs the extra eval; tests/scripts/test_harness.py raises them"),
    (
        "trainers/record/files.py",
        ".* is not a JSON object",
        "of another command; tests/scripts/test_report.py raises it",
    ),
    ("trainers/report/run.py", "", "of another command; tests/scripts/test_report.py raises it"),
    ("scripts/finetune/dpo.py", ".* of .* steps were skipped", "a whole run; tests/scripts/finetune raises it"),
)
HANDED_ON = 20  # letters of its own that a message has at least, which does more than name the place of another


@pytest.fixture(scope="module")
def raised(tmp_path_factory) -> dict[str, list[str]]:
    place = place_in(tmp_path_factory.mktemp("errors"))
    return {
        heading: messages(heading, place._replace(folder=place.folder / str(number)))
        for number, heading in enumerate(CASES)
    }


def templates() -> Iterator[tuple[str, str]]:
    """Yields the place of each error in the code, with a regular expression for its message."""
    for path in sorted(SOURCE.rglob("*.py")):
        name = str(path.relative_to(SOURCE))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS and node.args:
                yield f"{name}:{node.lineno}", pattern(node.args[0])


def pattern(node: ast.expr) -> str:
    """Returns a regular expression for the text that an expression gives, `.*` for what is not written out."""
    if isinstance(node, ast.Constant):
        return re.escape(" ".join(str(node.value).split(" ")))
    if isinstance(node, ast.JoinedStr):
        return "".join(map(pattern, node.values))
    if isinstance(node, ast.BinOp):
        return pattern(node.left) + pattern(node.right)
    return ".*"


def is_left_out(place: str, expression: str) -> bool:
    said = expression.replace("\\", "")
    return any(place.startswith(f"{module}:") and said.startswith(words) for module, words, _ in LEFT_OUT)


def test_the_page_has_the_headings_of_the_cases():
    assert list(entries()) == list(CASES)
    assert re.findall(r"^### (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE) == list(CASES)


@pytest.mark.parametrize("heading", CASES)
def test_what_the_page_says_is_what_is_raised(heading, raised):
    """`python -m oracles.errors` in `tests/` writes the page anew."""
    assert entries()[heading] == [shown(said) for said in raised[heading]]


def test_every_message_of_the_code_is_on_the_page(raised):
    said = [each for group in raised.values() for each in group]
    missing = [
        f"{place} {expression}"
        for place, expression in templates()
        if len(expression.replace(".*", "")) > HANDED_ON
        and not any(re.fullmatch(expression, each) for each in said)
        and not is_left_out(place, expression)
    ]
    assert missing == [], "\n".join(missing)


def test_a_warning_points_at_the_line_that_called_into_the_package_however_deep_it_was_found():
    inside: dict[str, Any] = {"__name__": "easydel.somewhere"}
    exec("from easydel.errors import warn\ndef shallow(): warn('x')\ndef deep(call): call()", inside)
    shallow, deep = inside["shallow"], inside["deep"]

    def calls() -> None:
        shallow()
        deep(shallow)
        deep(lambda: deep(shallow))  # a function of the user's that is called back

    with pytest.warns(UserWarning, match="^x$") as caught:
        calls()
    first = calls.__code__.co_firstlineno
    assert [(each.filename, each.lineno) for each in caught] == [(__file__, first + at) for at in (1, 2, 3)]
