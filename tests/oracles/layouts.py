"""Layouts of packed rows of every alignment, and the sequences in them, said once more and slowly."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st


class PackedRow(NamedTuple):
    """One packed row: its layout [length], and the places of each sequence, prompt and completion."""

    segment: np.ndarray
    branch: np.ndarray
    position: np.ndarray
    sequences: list[np.ndarray]

    def own(self, number: int) -> np.ndarray:
        """Which tokens of a sequence are counted with it: those of a prompt with the chosen completion alone."""
        places = self.sequences[number]
        return np.ones(len(places), bool) if number % 2 == 0 else self.branch[places] == 2


def packed_row(length: int, lengths: list[tuple[int, int, int]]) -> PackedRow:
    """Returns a row of pairs of (prompt, chosen, rejected) tokens one after another, padding behind them."""
    segment, branch, position = np.zeros((3, length), np.int32)
    sequences, start = [], 0
    for number, (prompt, chosen, rejected) in enumerate(lengths, start=1):
        asked, liked, other = np.split(np.arange(start, start + prompt + chosen + rejected), [prompt, prompt + chosen])
        for places, side in ((asked, 0), (liked, 1), (other, 2)):
            segment[places], branch[places] = number, side
            position[places] = np.arange(len(places)) + (prompt if side else 0)
        sequences += [np.r_[asked, liked], np.r_[asked, other]]
        start += prompt + chosen + rejected
    assert start <= length
    return PackedRow(segment, branch, position, sequences)


@st.composite
def packed_rows(draw, length: int) -> PackedRow:
    """Many pairs in a row: no prompt or one shorter than a convolution, completions of one token, and long ones."""
    lengths, left = [], length
    for _ in range(draw(st.integers(1, 8))):
        pair = draw(st.tuples(st.integers(0, 11), st.integers(1, 9), st.integers(1, 9)))
        if sum(pair) > left:
            break
        lengths.append(pair)
        left -= sum(pair)
    return packed_row(length, lengths)
