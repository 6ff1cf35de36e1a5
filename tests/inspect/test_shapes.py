"""What rows look like before they are compared."""

from easydel.inspect.inspection import inspect_pairs

ASKED = [{"role": "user", "content": "Is it a bird?"}]
YES, NO = [{"role": "assistant", "content": "Yes."}], [{"role": "assistant", "content": "No."}]


def found(check, *rows):
    return [each for each in inspect_pairs([(row, "") for row in rows]).findings if each.check == check]


def test_a_column_that_could_hold_a_part_of_the_prompt_is_named():
    row = {"prompt": "a", "chosen": "b", "rejected": "c", "my_instruction": "do it", "id": 1, "model_input": ""}
    (finding,) = found("unread_columns", row, row)
    assert "'my_instruction' is not read, and holds something in 2 rows" in finding.text
    assert finding.figures == {"column": "my_instruction", "rows": 2}


def test_rows_without_a_pair_are_counted_by_cause():
    empty = {"prompt": "a", "chosen": "", "rejected": "c"}
    tie = {"prompt": "a", "response1": "b", "response2": "c", "overall_preference": 0}
    broken, dropped, other = found("unusable", empty, tie, empty, {"prompt": "a"})
    assert (broken.level, list(broken.faults)) == ("error", [3])
    assert "row 3" in broken.text
    assert (dropped.level, list(dropped.faults)) == ("warning", [0, 2])
    assert (other.figures["cause"], list(other.faults)) == ("no completion is preferred", [1])


def test_text_among_conversations_is_a_warning():
    text, talk = {"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": ASKED, "chosen": YES, "rejected": NO}
    (finding,) = found("mixed_kinds", text, talk, talk)
    assert finding.figures == {"conversation": 2, "text": 1}
    assert not found("mixed_kinds", talk, talk)


def test_who_speaks_when_is_noted():
    system = {"role": "system", "content": "Be kind."}
    late = {"prompt": [*ASKED, system, *ASKED], "chosen": YES, "rejected": NO}
    begun = {"prompt": [*ASKED, {"role": "assistant", "content": "It is "}], "chosen": "a", "rejected": "b"}
    twice = {"prompt": [*ASKED, *ASKED], "chosen": YES, "rejected": NO}
    nobody = {"prompt": [system], "chosen": YES, "rejected": NO}
    longer = {"prompt": ASKED, "chosen": [*YES, *ASKED, *YES], "rejected": NO}
    good = {"prompt": [system, *ASKED], "chosen": YES, "rejected": NO}
    texts = " ".join(each.text for each in found("strange_roles", good, late, begun, twice, nobody, longer))
    for words in (
        "a system message is not the first; the first is row 1",
        "ends in a message of the assistant",
        "user speaks twice",
    ):
        assert words in texts
    assert "no user speaks in the prompt" in texts
    assert "different numbers of messages; the first is row 5" in texts
    assert not found("strange_roles", good)
