"""What is kept on disk is found by its tokens and by nothing else, is whole or not used, and gets to its slots."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from easydel.data.pack import Batch, Shape, pack, stack
from easydel.data.pair import Pair
from easydel.trainers.reference_cache import (
    PairLogps,
    by_pair,
    in_slots,
    open_folder,
    pair_key,
    read_shards,
    write_shard,
)
from oracles.pairs import some_pairs, trained_places
from oracles.tiny import tiny_pairs

PAIR = Pair([1, 2], [3, 4], [5, 6], index=0)


def made_up(pairs: list[Pair], seed: int = 0) -> dict[str, PairLogps]:
    random = np.random.default_rng(seed)
    return {
        pair_key(pair): (
            random.normal(size=len(trained_places(pair, 0))).astype(np.float32),
            random.normal(size=len(trained_places(pair, 1))).astype(np.float32),
        )
        for pair in pairs
    }


def same(one: dict[str, PairLogps], other: dict[str, PairLogps]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(a, b) and a.dtype == b.dtype for key in one for a, b in zip(one[key], other[key], strict=True)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return open_folder(tmp_path, "the-reference")


@pytest.mark.parametrize("changes", [{"index": 9}, {"weight": 0.5}, {"margin": 2.0}], ids=str)
def test_a_pair_goes_by_its_tokens_and_not_by_its_row_weight_or_margin(changes: dict):
    assert pair_key(PAIR._replace(**changes)) == pair_key(PAIR)


@pytest.mark.parametrize(
    "other",
    [
        PAIR._replace(prompt=[1, 3]),
        PAIR._replace(prompt=[1], chosen=[2, 3, 4]),  # the same ids, cut elsewhere
        PAIR._replace(prompt=[1, 2, 3], chosen=[4]),
        PAIR._replace(chosen=PAIR.rejected, rejected=PAIR.chosen),
        PAIR._replace(chosen_context=1),
        PAIR._replace(rejected_context=1),
        PAIR._replace(rejected=[5]),
        PAIR._replace(chosen_trained=[False, True]),
        PAIR._replace(rejected_trained=[False, True]),
    ],
    ids=str,
)
def test_other_tokens_or_others_that_bear_loss_are_another_pair(other: Pair):
    assert pair_key(other) != pair_key(PAIR)


def test_what_was_written_is_read_bit_for_bit_as_far_as_it_is_wanted(folder: Path):
    pairs = made_up(tiny_pairs(10))
    first, second = dict(list(pairs.items())[:6]), dict(list(pairs.items())[6:])
    write_shard(folder, first)
    write_shard(folder, second)
    assert same(read_shards(folder, pairs.keys()), pairs)
    some = list(pairs)[4:8]
    assert same(read_shards(folder, some), {key: pairs[key] for key in some})
    assert read_shards(folder, ["0" * 32]) == {}
    assert read_shards(folder, []) == {}


def test_equal_pairs_are_equal_files_that_only_their_owner_may_read(folder: Path, tmp_path: Path):
    other = open_folder(tmp_path / folder.name, folder.name)
    for place in (folder, other):
        write_shard(place, made_up(tiny_pairs(5)))
    (one,), (two,) = folder.glob("*.shard"), other.glob("*.shard")
    assert (one.name, one.read_bytes()) == (two.name, two.read_bytes())
    assert one.stat().st_mode & 0o077 == folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999], ids=lambda kept: f"{kept:.1%} kept")
def test_a_shard_that_is_cut_short_is_removed_with_a_message_and_the_others_are_used(folder: Path, kept: float):
    whole, cut = made_up(tiny_pairs(5)), made_up(tiny_pairs(5, seed=1))
    write_shard(folder, whole)
    (intact,) = folder.glob("*.shard")
    write_shard(folder, cut)
    (damaged,) = set(folder.glob("*.shard")) - {intact}
    content = damaged.read_bytes()
    damaged.write_bytes(content[: int(kept * len(content))])
    with pytest.warns(UserWarning, match=f"{damaged.name}.* is not used"):
        assert same(read_shards(folder, (whole | cut).keys()), whole)
    assert list(folder.glob("*.shard")) == [intact]
    write_shard(folder, cut)
    assert damaged.read_bytes() == content


def test_a_shard_with_one_changed_number_is_removed_with_a_message(folder: Path):
    pairs = made_up(tiny_pairs(5))
    write_shard(folder, pairs)
    (path,) = folder.glob("*.shard")
    content, number = path.read_bytes(), next(iter(pairs.values()))[0].tobytes()
    assert content.count(number) == 1
    path.write_bytes(content.replace(number, (next(iter(pairs.values()))[0] + 1).tobytes()))
    with pytest.warns(UserWarning, match=r"is not used: it is damaged"):
        assert read_shards(folder, pairs.keys()) == {}
    assert not path.exists()


def test_a_shard_of_another_reference_is_removed_with_a_message(folder: Path, tmp_path: Path):
    pairs = made_up(tiny_pairs(5))
    other = open_folder(tmp_path, "another-reference")
    write_shard(other, pairs)
    (foreign,) = other.glob("*.shard")
    shutil.copy(foreign, folder)
    with pytest.warns(UserWarning, match=r"is not used: it was written for other content"):
        assert read_shards(folder, pairs.keys()) == {}
    assert not list(folder.glob("*.shard"))
    assert foreign.exists()


def test_what_a_killed_process_left_half_written_goes_and_what_another_is_writing_stays(tmp_path: Path):
    folder = open_folder(tmp_path, "the-reference")
    old, fresh = folder / "a.shard.1.part", folder / "b.shard.2.part"
    for part in (old, fresh):
        part.write_bytes(b"half")
    long_ago = time.time() - 86_400
    os.utime(old, (long_ago, long_ago))
    assert read_shards(open_folder(tmp_path, "the-reference"), ["0" * 32]) == {}
    assert list(folder.iterdir()) == [fresh]


def batches_of(pairs: list[Pair]) -> list[Batch]:
    """The pairs packed, with filler pairs; without shared prompts; and in two micro-batches on two shards."""
    half = -(-len(pairs) // 2)
    roomy = Shape(rows=10, length=64, slots=256)
    parts = [pack(part, shape=roomy, shards=2, pad_pairs_to=half) for part in (pairs[:half], pairs[-half:])]
    packed = pack(pairs, shards=2, pad_pairs_to=len(pairs) + 3)
    return [stack([packed]), stack([pack(pairs, share_prompt=False)]), stack(parts)]


@given(some_pairs())
def test_each_token_lands_in_its_own_slot_and_comes_back_from_it(pairs: list[Pair]):
    for batch in batches_of(pairs):
        sides = {
            pair.index: tuple(
                # A value that says which token it belongs to: the ids of these pairs are all different.
                np.array(ids, np.float32)[trained_places(pair, side)]
                for side, ids in enumerate((pair.chosen, pair.rejected))
            )
            for pair in pairs
        }
        slots = in_slots(sides, batch)
        filler = batch.sequence == 2 * batch.lengths.shape[1]
        np.testing.assert_array_equal(slots, np.where(filler, 0, batch.target))
        assert slots.dtype == np.float32
        back = by_pair(np.where(filler, np.nan, slots), batch)
        assert back.keys() == sides.keys()
        for row, expected in sides.items():
            for found, values in zip(back[row], expected, strict=True):
                np.testing.assert_array_equal(found, values)
