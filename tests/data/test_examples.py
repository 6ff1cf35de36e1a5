from easydel.data.examples import FIRST, MAX_EXAMPLES, MERGED, NO_LOSS, Examples
from easydel.data.pair import Pair
from easydel.data.tokenize import Joined

ROW = Joined([1], [2, 3], [4])


def added(*rows: tuple[Joined, tuple[str, ...]]) -> list[tuple[int, tuple[str, ...]]]:
    examples = Examples()
    for index, (row, causes) in enumerate(rows):
        pair = Pair(*row[:3], index=index, chosen_trained=row.chosen_trained)
        examples.add(row, pair, causes)
    return [(example.pair.index, example.reasons) for example in examples.found()]


def test_the_first_row_is_shown_and_the_first_that_was_changed_in_each_way():
    masked, lost = ROW._replace(chosen_trained=[True, False]), ROW._replace(lost=("the tools", "the tools"))
    assert added((ROW, ()), (ROW, ()), (ROW, ("max_length",)), (masked, ("max_length",)), (lost, ())) == [
        (0, (FIRST,)),
        (2, ("cut by max_length",)),
        (3, (NO_LOSS,)),
        (4, ("left out by the chat template: the tools",)),
    ]


def test_a_row_with_several_reasons_is_shown_once():
    assert added((ROW._replace(merged=1), ("max_length",))) == [(0, (FIRST, MERGED, "cut by max_length"))]


def test_of_prompts_that_change_the_one_that_changes_most_is_shown():
    assert added(*((ROW._replace(merged=merged), ()) for merged in (0, 1, 3, 2))) == [(0, (FIRST,)), (2, (MERGED,))]


def test_no_more_than_a_few_are_shown():
    assert len(added(*((ROW, (f"limit {number}",)) for number in range(20)))) == MAX_EXAMPLES - 1  # the first has two
