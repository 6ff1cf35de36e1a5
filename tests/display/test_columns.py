"""The columns of a dataset as a line of text."""

from easydel.display.columns import read_and_ignored


def counts(read: dict[str, int], ignored: dict[str, int], rows: int = 3, **more) -> dict:
    return {"columns": {"rows": rows, "read": read, "ignored": ignored, "stands_for": {}}, **more}


def test_columns_that_all_rows_have_are_named_alone_and_others_with_their_rows():
    assert read_and_ignored(counts({"prompt": 3, "question": 1}, {"id": 3, "note": 2, "old": 0})) == (
        "prompt, question in 1 row",
        "id, note in 2 rows, old (empty)",
    )


def test_a_weight_has_its_range():
    assert read_and_ignored(counts({"weight": 3}, {}, weights=[0.5, 0.5]))[0] == "weight (0.5)"
    assert read_and_ignored(counts({"margin": 3}, {}, margins=[-1.0, 2.5]))[0] == "margin (-1 to 2.5)"


def test_a_line_has_a_limit_and_names_hold_no_control_characters():
    names = {f"c{number}": 3 for number in range(30)}
    assert read_and_ignored(counts(names, {}))[0].endswith("c23, and 6 more")
    assert read_and_ignored(counts({"x" * 99: 3}, {"a\x1b[2J": 3})) == ("x" * 59 + "…", "a\\x1b[2J")
