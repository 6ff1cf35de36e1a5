"""What is kept of rows has a fixed size for each."""

import numpy as np

from easydel.inspect import facts as module
from easydel.inspect.facts import SAMPLE_OF_SOURCE, Collector
from easydel.inspect.hashes import text_hash
from easydel.inspect.texts import Unusable, text_of_row


def collected(rows):
    collector = Collector()
    for number, row in enumerate(rows):
        collector.add(text_of_row(row, number, source=row.get("source", "")))
    return collector.facts()


def row(at: int, **values):
    return {"prompt": f"p {at}", "chosen": f"c {at}", "rejected": f"r {at}", **values}


def test_a_fact_of_each_pair_is_in_its_place():
    facts = collected(
        [row(0), {"prompt": "p", "chosen": "", "rejected": "r"}, row(2, rejected="C 2 and more", source="b")]
    )
    assert facts.numbers.tolist() == [0, 2]
    assert facts.rows == 3
    assert facts.unusable == [Unusable(1, "a completion is empty", False)]
    assert facts.prompts.tolist() == [text_hash("p 0"), text_hash("p 2")]
    assert facts.lengths.tolist() == [[3, 3], [3, 12]]
    assert facts.begins.tolist() == [0, 1]
    assert [facts.source_names[at] for at in facts.sources] == ["", "b"]
    assert facts.signatures is None


def test_samples_are_drawn_evenly_and_do_not_grow():
    facts = collected([row(at, source="ab"[at % 2]) for at in range(4000)])
    numbers = np.array([each.number for each in facts.samples[""]])
    assert len(numbers) == len(set(numbers)) == module.SAMPLE
    assert abs(numbers.mean() - 2000) < 100
    assert {name: len(each) for name, each in facts.samples.items() if name} == dict.fromkeys("ab", SAMPLE_OF_SOURCE)
    assert {each.number % 2 for each in facts.samples["b"]} == {1}


def test_no_rows_are_facts_too():
    facts = collected([])
    assert facts.rows == 0
    assert facts.lengths.shape == (0, 2)


def test_sources_beyond_a_limit_are_counted_together():
    facts = collected([row(at, source=f"s{at}") for at in range(300)])
    assert len(facts.source_names) == 201
    assert facts.source_names[-1] == "others"
    assert np.bincount(facts.sources)[-1] == 100
