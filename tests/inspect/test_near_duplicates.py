"""MinHash finds rows that say nearly the same."""

import random

import numpy as np
import pytest

from easydel.inspect.hashes import shingles
from easydel.inspect.near_duplicates import near_duplicates
from oracles.inspected import facts_of
from oracles.planted import Words


def words(seed: int, count: int) -> list[str]:
    return [f"w{seed}x{at}" for at in range(count)]


def test_without_signatures_nothing_is_said():
    assert not list(near_duplicates(facts_of("a:b>c", "a:b>c"), 0.8))


@pytest.mark.extras
def test_an_estimate_is_near_the_share_of_equal_runs():
    pytest.importorskip("datasketch")
    from easydel.inspect.near_duplicates import Signatures

    chosen, rejected = words(0, 200), words(1, 200)
    changed = [f"other{at}" if at % 40 == 0 else word for at, word in enumerate(chosen)]
    one, other = (f"ask:{' '.join(each)}>{' '.join(rejected)}" for each in (chosen, changed))
    facts = facts_of(one, other, signatures=Signatures())
    assert facts.signatures is not None
    estimate = np.mean(facts.signatures[0] == facts.signatures[1])
    of = [set(shingles(each, 3)) | set(shingles(rejected, 3, 2)) for each in (chosen, changed)]
    assert estimate == pytest.approx(len(of[0] & of[1]) / len(of[0] | of[1]), abs=0.1)
    (found,) = near_duplicates(facts, 0.8)
    assert list(found.faults) == [1]
    assert found.faults[1].startswith("says nearly the same as row 0 (")
    assert not list(near_duplicates(facts, 1.0))


@pytest.mark.extras
def test_the_opposite_preference_and_short_rows_are_no_near_duplicates():
    pytest.importorskip("datasketch")
    from easydel.inspect.near_duplicates import Signatures

    texts = Words(3)
    a, b = texts.text(40, 60), texts.text(40, 60)
    swapped = facts_of(f"why:{a}>{b}", f"why:{b}>{a}", signatures=Signatures())
    assert not list(near_duplicates(swapped, 0.8))
    short = facts_of("is it:yes>no", "is it:yes>no way", signatures=Signatures())
    assert not list(near_duplicates(short, 0.5))


@pytest.mark.extras
def test_rows_of_random_words_are_not_alike():
    pytest.importorskip("datasketch")
    from easydel.inspect.near_duplicates import Signatures

    random.seed(0)
    texts = Words(4)
    rows = [texts.row() for _ in range(300)]
    facts = facts_of(*(f"{row['prompt']}:{row['chosen']}>{row['rejected']}" for row in rows), signatures=Signatures())
    assert not list(near_duplicates(facts, 0.8))
