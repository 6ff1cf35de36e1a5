"""Planted faults are found, clean rows are not accused, and what cannot be inspected is said in a line."""

from functools import cache

import pytest

from easydel.data.bad_rows import BadRow
from easydel.inspect.extras import has_extra
from easydel.inspect.findings import is_at_least
from easydel.inspect.inspection import Inspection, inspect_pairs
from oracles.planted import SHORTCUTS, Planted, Words, planted

NEED_EXTRAS = {"near_duplicates", "shortcut words"}
FAULTS = sorted(planted(200, 0.02).faults)


@cache
def inspected() -> tuple[Planted, Inspection]:
    pairs = planted()
    eval_prompts = {"eval": pairs.eval_prompts, "benchmark": pairs.benchmark}
    return pairs, inspect_pairs([(row, row["source"]) for row in pairs.rows], eval_prompts=eval_prompts)


def accused(inspection: Inspection, check: str) -> set[int]:
    return {row for finding in inspection.findings if finding.check == check for row in finding.faults}


def found_in(inspection: Inspection, name: str) -> list[str]:
    """Returns the sources in which a shortcut stands out."""
    check = "bag_of_words" if name == "words" else "shortcuts"
    findings = [each for each in inspection.findings if each.check == check]
    return [each.figures["source"] for each in findings if check == "bag_of_words" or each.figures["name"] == name]


def stands_out_in_its_source(inspection: Inspection, name: str) -> bool:
    """Whether a shortcut is found where it was planted, and not among clean rows; one may bring another with it."""
    found = found_in(inspection, name)
    return f"of {name}" in found and not {"", "clean"} & set(found)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in NEED_EXTRAS])
def test_every_planted_fault_is_found(fault):
    pairs, inspection = inspected()
    assert len(pairs.faults[fault]) in (100, 101)
    if fault.startswith("shortcut "):
        name = fault.removeprefix("shortcut ")
        assert stands_out_in_its_source(inspection, name)
    else:
        assert pairs.faults[fault] <= accused(inspection, fault)


@pytest.mark.extras
@pytest.mark.parametrize("module", ["datasketch", "sklearn"])
def test_faults_that_need_the_extra_are_found(module):
    pytest.importorskip(module)
    pairs, inspection = inspected()
    if module == "datasketch":
        assert pairs.faults["near_duplicates"] <= accused(inspection, "near_duplicates")
    else:
        assert stands_out_in_its_source(inspection, "words")


def test_at_most_one_clean_row_in_a_hundred_is_accused():
    pairs, inspection = inspected()
    faults = {row for each in inspection.findings if is_at_least(each.level, "warning") for row in each.faults}
    assert len(pairs.clean) > 7_000
    assert len(faults & pairs.clean) <= len(pairs.clean) / 100
    noted = {row for each in inspection.findings for row in each.faults}
    assert len(noted & pairs.clean) <= len(pairs.clean) / 100


def test_every_shortcut_is_planted():
    _, inspection = inspected()
    assert {each.name for each in inspection.shortcuts} == set(SHORTCUTS) - {"words"}


def test_rows_that_are_left_out_have_reasons_that_name_their_check():
    pairs, inspection = inspected()
    left_out = inspection.left_out("error")
    assert pairs.faults["contradictions"] | pairs.faults["leakage"] <= left_out.keys()
    assert not left_out.keys() & pairs.faults["both_sides"]
    row = min(pairs.faults["contradictions"])
    assert any(reason.startswith("contradictions: row ") for reason in left_out[row])
    assert not inspection.left_out("never")


def test_rows_that_cannot_be_read_are_left_out_at_every_level():
    rows = [{"prompt": "a", "chosen": "b", "rejected": "c"}, BadRow("no JSON"), {"prompt": "d"}]
    assert inspect_pairs([(row, "") for row in rows]).left_out("never").keys() == {1, 2}


def test_pairs_without_a_fault_are_clean():
    words = Words(1)
    inspection = inspect_pairs([(words.row(), "") for _ in range(200)])
    assert {each.check for each in inspection.findings} <= {"not_inspected"}
    assert all(each.level == "note" for each in inspection.findings)
    assert not inspection.fails("warning")
    assert not inspection.fails("never")


def test_a_single_row_and_rows_without_pairs_are_inspected():
    words = Words(1)
    alone = inspect_pairs([(words.row(), "")])
    assert len(alone.facts.numbers) == 1
    assert not alone.fails("warning")
    none = inspect_pairs([({"prompt": "a", "chosen": "b", "rejected": ""}, ""), ({"nothing": 1}, "")])
    assert (len(none.facts.numbers), none.facts.rows) == (0, 2)
    assert {each.level for each in none.findings if each.check == "unusable"} == {"warning", "error"}
    assert none.values()["pairs"] == 0


def test_a_eval_prompts_set_in_another_form_is_a_finding_and_the_others_are_used():
    words = Words(1)
    row = words.row()
    inspection = inspect_pairs([(row, "")], eval_prompts={"odd": [{"id": 1}], "even": [{"question": row["prompt"]}]})
    odd = next(each for each in inspection.findings if each.check == "not_inspected" and each.level == "warning")
    assert odd.text.startswith("odd: no row of it has a prompt or a question")
    assert accused(inspection, "leakage") == {0}


def test_the_same_missing_package_is_one_note():
    inspection = inspect_pairs([(Words(1).row(), "")])
    missing = [each.figures["package"] for each in inspection.findings if each.check == "not_inspected"]
    modules = {"datasketch": "datasketch", "sklearn": "scikit-learn"}
    assert missing == [package for module, package in modules.items() if not has_extra(module)]
