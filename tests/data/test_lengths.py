"""Lengths of prompts and answers, counted by hand and with numpy."""

from collections import Counter

import numpy as np

from easydel.data.lengths import MOST_BARS, PARTS, add_lengths, histograms
from easydel.data.pair import Pair


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
        assert len(bars.counts) <= MOST_BARS
        assert bars.longest == values.max()
        assert abs(bars.mean - values.mean()) <= 0.005
        assert bars.median == np.percentile(values, 50, method="inverted_cdf")


def test_without_a_pair_there_are_no_bars():
    assert histograms(counted([])) == {}
