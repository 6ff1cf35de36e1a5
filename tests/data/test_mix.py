import itertools
from collections import Counter

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easydel.data.batch_layout import BatchLayout
from easydel.data.loader import Position
from easydel.data.mix import first_of_each, mix
from easydel.data.pair import Limits
from easydel.data.prepare import TokenizeConfig, prepare
from easydel.data.stream import is_stream, make_stream_loader
from easydel.errors import ConfigError, DataError


def rows_of(name: str, number: int) -> list[dict]:
    return [{"from": name, "number": at} for at in range(number)]


def places(mixture) -> list[tuple[str, int]]:
    return [(row["from"], row["number"]) for row in mixture]


class Again:
    """A stream that starts afresh each time."""

    def __init__(self, rows) -> None:
        self.rows = rows

    def __iter__(self):
        yield from self.rows


LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=4)


@given(lengths=LENGTHS, seed=st.integers(0, 3), streams=st.booleans())
@settings(max_examples=40, deadline=None)
def test_without_weights_every_row_comes_once_and_each_dataset_keeps_its_order(lengths, seed, streams):
    parts = [rows_of(str(at), length) for at, length in enumerate(lengths)]
    mixture = mix([iter(part) for part in parts] if streams else parts, seed=seed)
    found = places(mixture)
    assert sorted(found) == sorted(places(itertools.chain(*parts)))
    for at, part in enumerate(parts):
        assert [place for place in found if place[0] == str(at)] == places(part)


@given(
    lengths=LENGTHS,
    shares=st.lists(st.floats(0.1, 5), min_size=4, max_size=4),
    seed=st.integers(0, 3),
    stop=st.sampled_from(["first_exhausted", "all_exhausted"]),
)
@settings(max_examples=60, deadline=None)
def test_a_mixture_stops_with_the_first_or_the_last_dataset_at_its_end(lengths, shares, seed, stop):
    parts = [rows_of(str(at), length) for at, length in enumerate(lengths)]
    weights = shares[: len(parts)]
    found = places(mix(parts, weights, seed=seed, stop=stop))
    taken = Counter(name for name, _ in found)
    for name, length in zip(map(str, range(len(parts))), lengths, strict=True):  # in order, and round and round
        assert [number for of, number in found if of == name] == [at % length for at in range(taken[name])]
    ended = [taken[str(at)] >= length for at, length in enumerate(lengths)]
    before = Counter(name for name, _ in found[:-1])
    ended_before = [before[str(at)] >= length for at, length in enumerate(lengths)]
    assert any(ended) if stop == "first_exhausted" else all(ended)
    assert not (any(ended_before) if stop == "first_exhausted" else all(ended_before))


@pytest.mark.parametrize("stop", ["first_exhausted", "all_exhausted"])
def test_lists_tables_and_streams_give_the_same_mixture_each_time(stop):
    parts = [rows_of("a", 40), rows_of("b", 25)]
    expected = places(mix(parts, [3, 1], stop=stop))
    tables = [datasets.Dataset.from_list(part) for part in parts]
    streams = [Again(parts[0]), tables[1].to_iterable_dataset()]
    for others in (tables, streams, [parts[0], streams[1]]):
        mixture = mix(others, [0.75, 0.25], stop=stop)
        assert places(mixture) == places(mixture) == expected
    assert places(mix(parts, [3, 1], stop=stop, seed=1)) != expected


def test_a_mixture_of_what_has_a_length_has_one_too():
    parts = [rows_of("a", 40), rows_of("b", 25)]
    for weights, stop in ((None, "first_exhausted"), ([1, 1], "first_exhausted"), ([1, 1], "all_exhausted")):
        mixture = mix(parts, weights, stop=stop)
        assert not is_stream(mixture)
        assert len(mixture) == len(places(mixture))
    assert is_stream(mix([parts[0], Again(parts[1])]))


@pytest.mark.parametrize(("weights", "stop"), [(None, "first_exhausted"), ([1, 5], "all_exhausted")])
def test_the_origin_of_a_row_is_its_dataset_and_its_number_there(weights, stop):
    mixture = mix([rows_of("0", 9), rows_of("1", 4)], weights, stop=stop)
    expected = [(int(of), at) for of, at in places(mixture)]
    assert [mixture.origin(number) for number in range(len(mixture))] == expected
    stream = mix([Again(rows_of("0", 9)), rows_of("1", 4)], weights, stop=stop)
    found = [(int(of), at) for of, at in places(stream)]
    assert [stream.origin(number) for number in range(len(found) + 1)] == [*found, None]
    once = mix([iter(rows_of("0", 9)), rows_of("1", 4)], weights, stop=stop)
    assert once.origin(0) is None
    assert [at for of, at in places(once) if of == "0"] == list(range(9))  # no row of it was read


def test_the_shares_are_those_of_the_weights():
    endless = [itertools.repeat({"from": name}) for name in "abc"]
    taken = Counter(row["from"] for row in itertools.islice(mix(endless, [5, 3, 2]), 10_000))
    assert {name: round(number / 10_000, 2) for name, number in taken.items()} == {"a": 0.5, "b": 0.3, "c": 0.2}


def test_an_iterator_that_ended_takes_no_further_part_in_a_mixture_that_goes_on():
    found = places(mix([iter(rows_of("a", 3)), rows_of("b", 30)], [1, 1], stop="all_exhausted"))
    assert [place for place in found if place[0] == "a"] == places(rows_of("a", 3))
    assert [place for place in found if place[0] == "b"] == places(rows_of("b", 30))


def test_a_mixture_is_prepared_and_streamed_like_any_rows():
    parts = [[{"prompt_ids": [at], "chosen_ids": [2] * at, "rejected_ids": [3]}] * 20 for at in (1, 9)]
    mixture = mix(parts, [1, 1])
    counts = prepare(mixture, max_length=9).counts
    assert (counts.rows, counts.truncated) == (
        len(mixture),
        {"max_length": sum(r["prompt_ids"] == [9] for r in mixture)},
    )
    loader = make_stream_loader(
        mix([Again(part) for part in parts], [1, 1]),
        TokenizeConfig(limits=Limits(max_length=9)),
        BatchLayout(4),
        max_training_steps=99,
    )
    straight = [after for after, _ in itertools.islice(loader.batches(), 12)]
    assert straight[-1].epoch == 1
    assert loader.counts.truncated
    assert [after for after, _ in itertools.islice(loader.batches(Position(0, 3)), 9)] == straight[3:]


@pytest.mark.parametrize(
    ("parts", "settings", "error", "message"),
    [
        ([], {}, ConfigError, "there are no datasets to mix"),
        ([rows_of("a", 1)], {"weights": [1, 2]}, ConfigError, "2 weights for 1 datasets: give one for each"),
        ([rows_of("a", 1)] * 2, {"weights": [1, 0]}, ConfigError, "weight 1 of the mixture is 0; it must be a finite"),
        ([rows_of("a", 1)] * 2, {"weights": [1, float("nan")]}, ConfigError, "weight 1 of the mixture is nan"),
        ([rows_of("a", 1)], {"stop": "first"}, ConfigError, "stop = 'first' is not one of 'first_exhausted'"),
        ([rows_of("a", 1), []], {}, DataError, "dataset 1 of the mixture has no rows"),
        (["a.jsonl"], {}, DataError, "'a.jsonl' is the name of a dataset, not its rows"),
        ([{"train": []}], {}, DataError, "a dict with the keys 'train' is not rows"),
    ],
)
def test_what_cannot_be_mixed_is_an_error(parts, settings, error, message):
    with pytest.raises(error, match=message):
        mix(parts, **settings)


def test_the_first_rows_are_those_of_each_dataset_before_they_are_mixed():
    parts = [rows_of("a", 9), rows_of("b", 2), rows_of("c", 5)]
    for weights, stop in ((None, "first_exhausted"), ([1, 2, 3], "all_exhausted"), ([1, 2, 3], "first_exhausted")):
        mixture = first_of_each(mix(parts, weights, seed=4, stop=stop), 3)
        expected = mix([part[:3] for part in parts], weights, seed=4, stop=stop)
        assert places(mixture) == places(expected)
        assert len(list(mixture)) == len(expected)
        assert first_of_each(mixture, 3) is mixture
    assert sorted(places(first_of_each(mix(parts), 3))) == sorted(place for part in parts for place in places(part[:3]))
    streamed = first_of_each(mix([Again(part) for part in parts]), 3)
    assert is_stream(streamed)
    assert places(streamed) == places(streamed) == places(mix([Again(part[:3]) for part in parts]))


def test_the_first_rows_of_any_dataset_are_as_many_each_time():
    rows = rows_of("a", 9)
    table = datasets.Dataset.from_list(rows)
    assert first_of_each(rows, None) is rows
    assert first_of_each(rows, 9) is rows
    for given_rows in (rows, table, tuple(rows), Again(rows), table.to_iterable_dataset()):
        first = first_of_each(given_rows, 4)
        assert places(first) == places(first) == places(rows[:4])
        assert is_stream(first) == is_stream(given_rows)
    once = first_of_each(iter(rows), 4)
    assert places(once) == places(rows[:4])
    assert places(once) == []  # and not the next four
