import warnings
from collections import Counter

import numpy as np
import pytest

from easydel.data.counts import MAX_BARS, PARTS, Counts, Tally, add_lengths, histograms, warn_about
from easydel.data.lost import OF_EARLIER_TURNS
from easydel.data.pair import Limits, Pair, truncate
from easydel.data.tokenize import Joined


def tally_of(*rows: Joined, weights: tuple[float, ...] = (), **limits: int) -> Tally:
    tally = Tally()
    for number, row in enumerate(rows):
        pair = Pair(*row[:3], index=number, chosen_trained=row.chosen_trained)
        if weights:
            pair = pair._replace(weight=weights[number], margin=-weights[number])
        tally.add(row, truncate(pair, Limits(**limits)), number)
    return tally


PLAIN = Joined([1, 2], [3, 4], [5])


def test_rows_are_counted_by_what_became_of_them():
    counts = tally_of(PLAIN, Joined([1], [2, 2, 2], [3]), Joined([1, 1, 1, 1], [2], [3]), max_length=3).counts()
    assert (counts.rows, counts.kept) == (3, 2)
    assert counts.truncated == {"max_length": 2}
    assert counts.dropped == {"the prompt alone reaches max_length": 1}
    assert (counts.lengths["prompt"].counts, counts.lengths["chosen"].counts) == ([0, 1, 1], [0, 1, 1])


def test_the_smallest_and_the_largest_weight_and_margin_are_kept():
    counts = tally_of(PLAIN, PLAIN, PLAIN, weights=(2.0, 0.5, 1.0)).counts()
    assert (counts.weights, counts.margins) == ((0.5, 2.0), (-2.0, -0.5))
    assert (Tally().counts().weights, Tally().counts().margins) == ((1.0, 1.0), (0.0, 0.0))


def test_tokens_of_completions_without_loss_are_counted():
    assert tally_of(PLAIN, PLAIN._replace(chosen_trained=[False, True])).counts().masked == 1


def test_the_row_in_which_most_tokens_of_the_prompt_change_is_kept():
    counts = tally_of(*(PLAIN._replace(merged=merged) for merged in (0, 1, 3, 2))).counts()
    assert (counts.merged, counts.most_merged, counts.most_merged_row) == (3, 3, 2)


def test_a_summary_holds_only_what_happened():
    assert Counts(2, 2, {}, {}, 0, 0).summary() == "2 of 2 rows kept."
    assert Counts(
        4,
        3,
        {"max_length": 2},
        {"too long": 1},
        1,
        1,
        masked=5,
        lost={"the tools": 2},
        most_merged=2,
        most_merged_row=3,
    ).summary() == (
        "3 of 4 rows kept. Dropped: 1 (too long). Truncated: 2 (max_length). 5 tokens of completions bear no loss. "
        "Left out by the chat template: the tools in 2. In 1 the end of the prompt changes when a completion follows "
        "it, by at most 2 tokens (row 3). In 1 chosen and rejected are the same tokens."
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (PLAIN._replace(lost=("the tools",)), "in 1 of 3 rows the chat template leaves out the tools; .* row 1"),
        (PLAIN._replace(merged=3), "in 1 of 3 rows the end of the prompt changes .* in row 1, where the last 3 of 5"),
        (PLAIN._replace(rejected=[3, 4]), "in 1 of 3 rows chosen and rejected are the same tokens, .* row 1"),
    ],
)
def test_what_is_lost_is_warned_about_with_the_first_row(row, message):
    with pytest.warns(UserWarning, match=message):
        warn_about(tally_of(PLAIN, row, PLAIN))


def test_what_most_models_do_is_not_worth_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_about(tally_of(PLAIN, PLAIN._replace(merged=2, lost=(OF_EARLIER_TURNS,))))


def counted(pairs):
    seen = {part: Counter() for part in PARTS}
    for pair in pairs:
        add_lengths(seen, pair)
    return seen


def test_each_part_of_a_pair_is_counted_without_its_context():
    plain = Pair([1, 2, 3], [4, 5], [6])
    apart = Pair([], [1, 2, 4, 5, 6], [2, 9], chosen_context=2, rejected_context=1)
    assert counted([plain, apart]) == {"prompt": {3: 1, 2: 1}, "chosen": {2: 1, 3: 1}, "rejected": {1: 2}}


def test_bars_hold_every_pair_and_agree_with_numpy():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 900, (500, 3))
    found = histograms({part: Counter(lengths[:, at].tolist()) for at, part in enumerate(PARTS)})
    for at, part in enumerate(PARTS):
        bars, values = found[part], lengths[:, at]
        edges = np.arange(len(bars.counts) + 1) * bars.width
        assert bars.counts == np.histogram(values, edges)[0].tolist()
        assert len(bars.counts) <= MAX_BARS
        assert bars.longest == values.max()
        assert abs(bars.mean - values.mean()) <= 0.005
        assert bars.median == np.percentile(values, 50, method="inverted_cdf")


def test_without_a_pair_there_are_no_bars():
    assert histograms(counted([])) == {}
