"""A classifier of words tells what words tell, and no more."""

import pytest

from easydel.inspect.bag_of_words import Sampled, bag_of_words, words_tell
from easydel.inspect.extras import has_extra
from oracles.inspected import facts_of
from oracles.planted import Words


def sample(count: int, first: str = "") -> list[Sampled]:
    words = Words(0)
    return [Sampled(at, at, first + words.text(10, 40), words.text(10, 40)) for at in range(count)]


@pytest.mark.extras
def test_a_word_that_is_always_chosen_is_found_and_named():
    pytest.importorskip("sklearn")
    found = bag_of_words(sample(300, "Certainly, "))
    assert found is not None
    assert found.accuracy > 0.9
    assert found.chosen_words[0] == "certainly"
    assert found.rejected_words


@pytest.mark.extras
def test_words_at_random_tell_nothing():
    pytest.importorskip("sklearn")
    found = bag_of_words(sample(600))
    assert found is not None
    assert abs(found.accuracy - 0.5) < 4 * found.error
    assert 0.01 < found.error < 0.03


@pytest.mark.extras
def test_pairs_of_one_prompt_are_learned_or_tested_never_both():
    pytest.importorskip("sklearn")
    # Each prompt has its own word, of all its chosen answers: known from the others, were they learned from.
    words = Words(0)
    pairs = [Sampled(at, at // 10, f"name{at // 10} " + words.text(5, 9), words.text(5, 9)) for at in range(400)]
    found = bag_of_words(pairs)
    assert found is not None
    assert found.accuracy < 0.65


@pytest.mark.extras
def test_too_few_pairs_or_prompts_or_words_are_not_judged():
    pytest.importorskip("sklearn")
    assert bag_of_words(sample(20)) is None
    assert bag_of_words([each._replace(prompt=1) for each in sample(100)]) is None
    assert (
        bag_of_words([each._replace(chosen=f"only{at}", rejected="!") for at, each in enumerate(sample(100))]) is None
    )


@pytest.mark.skipif(has_extra("sklearn"), reason="scikit-learn is installed")
def test_without_the_package_nothing_is_said():
    assert not list(words_tell(facts_of("a:b>c")))
