import itertools
import threading
from collections.abc import Iterator

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easydel.data.batch_layout import BatchLayout
from easydel.data.loader import START, Position, make_loader
from easydel.data.pack import Batch
from easydel.data.pair import Limits
from easydel.data.prefetch import prefetch
from easydel.data.prepare import TokenizeConfig, prepare
from easydel.data.stream import is_stream, make_stream_loader
from easydel.errors import ConfigError, DataError
from oracles.pairs import random_pairs
from oracles.tokenizers import tiny_tokenizer

CONFIG = TokenizeConfig()
ROWS = [
    {"prompt_ids": pair.prompt, "chosen_ids": pair.chosen, "rejected_ids": pair.rejected, "weight": 1 + at % 3}
    for at, pair in enumerate(random_pairs(61))
]

LONG = [{"prompt_ids": [1] * 30, "chosen_ids": [2] * 30, "rejected_ids": [3] * 30}] * 8


class Again:
    """A stream that starts afresh each time, and counts how often and how far it was read."""

    def __init__(self, rows=ROWS) -> None:
        self.rows, self.read = rows, []

    def __iter__(self) -> Iterator[dict]:
        self.read.append(0)
        for row in self.rows:
            self.read[-1] += 1
            yield row


def loader_of(rows, *, size=4, micro=1, max_training_steps=1000, config=CONFIG, **more):
    return make_stream_loader(rows, config, BatchLayout(size, micro), max_training_steps=max_training_steps, **more)


def numbers(batch: Batch) -> list[int]:
    return batch.index[batch.index >= 0].tolist()


def same(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_what_has_no_length_is_a_stream():
    table = datasets.Dataset.from_list(ROWS[:2])
    assert [is_stream(rows) for rows in (iter(ROWS), (row for row in ROWS), Again(), table.to_iterable_dataset())] == [
        True
    ] * 4
    assert [is_stream(rows) for rows in (ROWS, tuple(ROWS), table, {}, "x.jsonl")] == [False] * 5


def test_without_shuffling_the_batches_are_those_of_the_rows_in_a_list():
    """Shapes are planned from the same pairs, since all of them fit the first look."""
    pairs = prepare(ROWS).pairs
    for micro in (1, 2):
        listed = make_loader(pairs, BatchLayout(4, micro), shuffle=False)
        stream = loader_of(iter(ROWS), micro=micro, shuffle=False)
        assert stream.layout == listed.layout
        for (_, one), (_, other) in zip(stream.batches(epochs=1), listed.batches(), strict=True):
            assert same(one, other)


@given(
    at=st.integers(0, 40), micro=st.sampled_from([1, 2]), buffer=st.sampled_from([3, 16, 500]), seed=st.integers(0, 2)
)
@settings(max_examples=20, deadline=None)
def test_continuing_from_any_position_gives_the_batches_of_a_straight_run(at, micro, buffer, seed):
    def fresh():
        return loader_of(Again(), micro=micro, buffer_size=buffer, seed=seed)

    straight = list(itertools.islice(fresh().batches(), 45))
    position = straight[at - 1][0] if at else START
    for (after, batch), (expected_after, expected) in zip(fresh().batches(position), straight[at:], strict=False):
        assert after == expected_after
        assert same(batch, expected)


def test_a_generator_that_is_made_again_continues_too():
    straight = list(loader_of(iter(ROWS), max_training_steps=16).batches())
    rest = list(loader_of(iter(ROWS), max_training_steps=16).batches(straight[5][0]))
    assert [after for after, _ in rest] == [after for after, _ in straight[6:]]
    assert all(same(one, other) for (_, one), (_, other) in zip(rest, straight[6:], strict=True))


def test_each_pass_holds_every_pair_once_in_an_order_of_its_own():
    loader = loader_of(Again(), buffer_size=20)
    orders = [
        [n for _, batch in itertools.islice(loader.batches(Position(epoch)), 16) for n in numbers(batch)]
        for epoch in (0, 1)
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(61))
    assert orders[0] != orders[1] != list(range(61))
    assert orders[0] == [n for _, batch in loader.batches(epochs=1) for n in numbers(batch)]


def test_pairs_are_shuffled_within_a_buffer_only():
    loader = loader_of(Again(), buffer_size=20)
    order = [n for _, batch in loader.batches(epochs=1) for n in numbers(batch)]
    assert [sorted(order[at : at + 20]) for at in (0, 20, 40)] == [list(range(at, at + 20)) for at in (0, 20, 40)]
    assert order[:20] != list(range(20))
    other = loader_of(Again(), buffer_size=20, seed=1)
    assert order != [n for _, batch in other.batches(epochs=1) for n in numbers(batch)]


def test_positions_count_batches_and_a_pass_starts_after_the_last_smaller_one():
    loader = loader_of(Again(ROWS[:5]), size=2)
    found = list(itertools.islice(loader.batches(), 7))
    assert [after for after, _ in found] == [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]
    assert [len(numbers(batch)) for _, batch in found] == [2, 2, 1, 2, 2, 1, 2]
    assert loader.steps_per_epoch is None


def test_a_table_of_datasets_that_streams_is_read_again_for_each_pass():
    rows = datasets.Dataset.from_list(ROWS).to_iterable_dataset()
    loader = loader_of(rows, shuffle=False)
    found = [numbers(batch) for _, batch in itertools.islice(loader.batches(), 32)]
    assert found[:16] == found[16:]


def test_an_endless_generator_is_read_no_further_than_needed():
    taken = itertools.count()
    endless = (row | {"number": next(taken)} for _ in itertools.count() for row in ROWS)
    loader = loader_of(endless, buffer_size=100)
    with prefetch(loader.batches()) as ahead:
        for _ in range(100):
            next(ahead)
    assert next(taken) <= 1600
    assert len(loader.pairs) == 100


def test_shapes_grow_where_later_pairs_need_more_room():
    short = [{"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]}] * 64
    loader = loader_of(iter(short + LONG), buffer_size=32, max_training_steps=18)
    batches = [batch for _, batch in loader.batches()]
    assert batches[0].tokens.shape[1:] == loader.layout.plan[-1][:2]
    assert batches[-1].tokens.shape[2] >= 90
    assert sorted(n for batch in batches for n in numbers(batch)) == list(range(72))


@pytest.mark.parametrize("rows", [iter(ROWS), Again(iter(ROWS[:]))])
def test_a_stream_that_cannot_be_read_again_ends_training_and_says_so(rows):
    """An iterator, and an iterable that goes on where it was left each time."""
    loader = loader_of(rows, max_training_steps=17, buffer_size=1)
    with pytest.warns(UserWarning, match=r"at its end after pass 1, before max_training_steps = 17: .* rows kept"):
        found = list(loader.batches())
    assert found[-1][0] == (1, 0)
    assert sorted(n for _, batch in found for n in numbers(batch)) == list(range(61))


def test_a_generator_with_just_enough_rows_ends_without_a_word():
    loader = loader_of(iter(ROWS), max_training_steps=16)
    assert len(list(loader.batches())) == 16
    with pytest.raises(DataError, match=r"the stream \(list_iterator\) was read already and cannot be read again"):
        next(loader.batches())


def test_what_is_cut_and_dropped_is_counted_as_the_rows_are_read():
    config = TokenizeConfig(limits=Limits(max_length=60))
    loader = loader_of(Again(), config=config, max_training_steps=1)
    list(loader.batches(epochs=1))
    assert loader.counts == prepare(ROWS, max_length=60).counts
    assert loader.counts.dropped
    assert loader.counts.truncated


def test_rows_whose_sides_are_the_same_are_warned_of_at_the_end_of_the_first_pass():
    rows = [*ROWS[:7], *[{"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [2]}] * 2]
    batches = loader_of(Again(rows), size=3).batches(epochs=2)
    next(batches)
    with pytest.warns(
        UserWarning, match="in 2 of 9 rows chosen and rejected are the same .* the first is row 7"
    ) as warned:
        assert len(list(batches)) == 5
    assert len(warned) == 1


def test_a_bad_row_is_found_when_it_is_met_with_its_number():
    rows = [*ROWS, {"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3], "weight": -1}]
    loader = loader_of(iter(rows), buffer_size=8)
    with prefetch(loader.batches()) as ahead, pytest.raises(DataError, match="row 61: 'weight' is -1"):
        list(ahead)


def test_rows_of_text_are_tokenized_by_other_processes_that_end_with_the_run(tmp_path):
    rows = [{"prompt": "sky " * (at % 5 + 1), "chosen": "blue", "rejected": "red"} for at in range(700)]
    found = []
    for more in ({}, {"dataset_num_proc": 2, "cache_directory": str(tmp_path)}):
        config = TokenizeConfig(tiny_tokenizer(), **more)
        loader = loader_of((row for row in rows), config=config, max_training_steps=175)
        before = threading.active_count()
        with prefetch(loader.batches()) as ahead:
            found.append([batch for _, batch in itertools.islice(ahead, 100)])
        assert threading.active_count() == before
    assert all(same(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"max_training_steps": None},
            r"train_dataset is a stream \(Again\), .* say with max_training_steps .* or give all",
        ),
        ({"num_train_epochs": 3}, "num_train_epochs = 3 has no meaning for a stream"),
        (
            {"shuffle": False, "buffer_size": 8},
            "shuffle_buffer_size = 8 has no meaning with shuffle_train_dataset = False",
        ),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_that_cannot_work_are_found_before_a_row_is_read(settings, message):
    rows = Again()
    with pytest.raises(ConfigError, match=message):
        loader_of(rows, **settings)
    assert rows.read == []


def test_a_stream_without_rows_and_one_that_is_too_short_to_continue_are_errors():
    with pytest.raises(DataError, match="there are no rows"):
        loader_of(iter([]))
    with pytest.raises(DataError, match="no row is left"):
        loader_of(iter(LONG), config=TokenizeConfig(limits=Limits(max_length=9)))
    with pytest.raises(DataError, match=r"no row is left: 0 of \d+ rows kept\. Dropped: .* Raise max_length, now 9"):
        loader_of(itertools.cycle(LONG), config=TokenizeConfig(limits=Limits(max_length=9)), buffer_size=4)
    with pytest.raises(
        DataError, match=r"the stream ended after 61 pairs, but the run .* had used 16 batches of 4 in pass 2"
    ):
        next(loader_of(Again()).batches(Position(1, 16)))


@pytest.mark.parametrize(
    ("shuffle", "buffer", "steps", "expected"),
    [
        (False, None, 1, 4),
        (False, None, 11, 44),
        (False, None, 300, 1200),  # more than one chunk of rows
        (True, 3, 5, 21),  # 20 pairs, in whole buffers
        (True, None, 2, 1024),
    ],
)
def test_no_row_is_asked_for_that_the_steps_do_not_need(shuffle, buffer, steps, expected):
    """Of a stream that would wait for ever, or break, behind the rows that are needed."""
    asked = []

    def live():
        for at in itertools.count():
            asked.append(at)
            assert at < expected, "asked for more"
            yield ROWS[at % 61]

    loader = loader_of(live(), max_training_steps=steps, shuffle=shuffle, buffer_size=buffer)
    with prefetch(loader.batches(steps=steps)) as ahead:
        assert len(list(ahead)) == steps
    assert len(asked) == expected


def test_rows_that_are_dropped_are_made_up_for_and_no_more():
    """Every third row is too long: of 40 pairs the last is row 59, behind which no row is asked for."""
    asked = itertools.count()
    short = {"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]}
    rows = ({**(LONG[0] if at % 3 == 1 else short), "at": next(asked)} for at in itertools.count())
    config = TokenizeConfig(limits=Limits(9))
    loader = loader_of(rows, config=config, max_training_steps=10, shuffle=False)
    assert len([*loader.batches(steps=10)]) == 10
    assert (loader.counts.kept, loader.counts.rows) == (40, 60)
    assert next(asked) == 60


def test_a_run_that_continues_asks_for_what_is_left_only():
    straight = list(loader_of(Again(), max_training_steps=40, buffer_size=8).batches(steps=40))
    rows = Again()
    loader = loader_of(rows, max_training_steps=40, buffer_size=8)
    rest = list(loader.batches(straight[20][0], steps=19))
    assert [after for after, _ in rest] == [after for after, _ in straight[21:]]
    assert all(same(one, other) for (_, one), (_, other) in zip(rest, straight[21:], strict=True))
    # The look, the rest of the second pass, and of the third the 8 batches of 4 that are left: 4 blocks of 8 pairs.
    assert rows.read == [32, 61, 32]


def test_a_longer_run_goes_on_from_the_end_of_a_shorter_one():
    """The shorter one ends with a pass and does not know it, as it asks for no more."""
    rows = Again(ROWS[:12])
    [*_, (end, _)] = loader_of(rows, max_training_steps=3, shuffle=False).batches(steps=3)
    assert end == (0, 3)
    straight = list(loader_of(rows, max_training_steps=6, shuffle=False).batches(steps=6))
    longer = list(loader_of(rows, max_training_steps=6, shuffle=False).batches(end, steps=3))
    assert [numbers(batch) for _, batch in longer] == [numbers(batch) for _, batch in straight[3:]]


def test_the_first_pairs_do_not_depend_on_how_long_a_run_is():
    for more in ({"shuffle": False}, {"buffer_size": 3}, {"buffer_size": 16}):
        found = [loader_of(Again(), max_training_steps=steps, **more).first_pairs for steps in (1, 3, 1000)]
        assert found[0] == found[1] == found[2]
        assert len(found[0]) >= 4


@pytest.mark.parametrize("error", [ConnectionError("reset"), DataError("line 51 is no row")])
def test_a_stream_that_breaks_gives_the_whole_batches_before_it(error):
    def breaking():
        yield from ROWS[:50]
        raise error

    found = []
    batches = loader_of(breaking(), buffer_size=2, max_training_steps=100, size=2).batches(steps=100)
    with pytest.raises(type(error), match=str(error)) as raised:
        found.extend(n for _, batch in batches for n in numbers(batch))
    assert sorted(found) == list(range(50))
    if isinstance(error, ConnectionError):
        assert "row 50" in raised.value.__notes__[0]


def test_a_bad_row_is_left_out_of_every_pass_where_that_is_asked_for():
    rows = [*ROWS[:30], {"text": "no pair"}, *ROWS[30:]]
    config = TokenizeConfig(on_bad_row="skip")
    loader = loader_of(Again(rows), config=config, shuffle=False)
    with pytest.warns(UserWarning, match="1 of 62 rows could not be read and are left out"):
        found = [n for _, batch in loader.batches(epochs=2) for n in numbers(batch)]
    assert found == 2 * [*range(30), *range(31, 62)]
    assert loader.counts.dropped == {"could not be read": 1}
