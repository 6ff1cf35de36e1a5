"""Texts as numbers that stand for them."""

import subprocess
import sys

import numpy as np

from easydel.inspect.hashes import FACTORS, shingles, text_hash


def test_runs_of_words_are_told_apart_by_their_order_and_their_part():
    one = shingles(["a", "b", "c", "d"], 3)
    assert len(one) == len(set(one)) == 2
    assert set(one) == set(shingles(["a", "b", "c", "d"], 3))
    assert not set(one) & set(shingles(["d", "c", "b", "a"], 3))
    assert not set(one) & set(shingles(["a", "b", "c", "d"], 3, tag=1))
    assert set(shingles(["x", "a", "b", "c", "d"], 3)) > set(one)


def test_numbers_are_the_same_in_every_process():
    code = "from easydel.inspect.hashes import *; print(text_hash('a'), shingles(['a', 'b'], 2)[0])"
    there = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert there.split() == [str(text_hash("a")), str(shingles(["a", "b"], 2)[0])]


def test_half_a_surrogate_pair_has_a_number_too():
    assert text_hash("\ud800") != text_hash("")
    assert len(shingles(["\ud800"], 3)) == 1
    assert np.all(FACTORS % 2 == 1)
