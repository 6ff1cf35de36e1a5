import pytest
from hypothesis import given
from hypothesis import strategies as st

from easydel.data.pair import Limits, Pair, truncate
from easydel.errors import ConfigError
from oracles.pairs import masks_of, trained_places

pytestmark = pytest.mark.quick

IDS = st.lists(st.integers(0, 99), min_size=1, max_size=9)
PAIRS = st.tuples(IDS, IDS, IDS).map(lambda ids: Pair(*ids))


def sides(pair: Pair) -> list[tuple[list[int], list[int]]]:
    """(context, completion) of chosen and of rejected."""
    own = ((pair.chosen, pair.chosen_context), (pair.rejected, pair.rejected_context))
    return [(pair.prompt + ids[:context], ids[context:]) for ids, context in own]


@given(pair=PAIRS, most=st.integers(2, 20))
def test_keep_start_is_the_start_of_prompt_and_completion(pair, most):
    cut, causes = truncate(pair, Limits(max_length=most))
    if len(pair.prompt) >= most:
        assert cut is None
        assert causes == ("the prompt alone reaches max_length",)
        return
    assert cut is not None
    for (context, completion), whole in zip(sides(cut), (pair.chosen, pair.rejected), strict=True):
        assert context + completion == (pair.prompt + whole)[:most]
        assert context == pair.prompt
    assert causes == (("max_length",) if cut != pair else ())


@given(pair=PAIRS, most=st.integers(2, 20))
def test_keep_end_is_the_end_of_prompt_and_completion_on_each_side(pair, most):
    """As the mask of TRL: a token is predicted if it is of the completion and not the first one kept."""
    cut, causes = truncate(pair, Limits(max_length=most, truncation_mode="keep_end"))
    assert cut is not None
    for (context, completion), whole in zip(sides(cut), (pair.chosen, pair.rejected), strict=True):
        assert context + completion == (pair.prompt + whole)[-most:]
        assert completion == whole[-min(len(whole), most - 1) :]
        assert context
    assert causes == (("max_length",) if sides(cut) != sides(pair) else ())


def test_keep_end_shares_what_the_sides_keep_in_common():
    """Completions of one length keep the same part of the prompt, which is then stored once."""
    limits = Limits(max_length=4, truncation_mode="keep_end")
    assert truncate(Pair([1, 2, 3], [4, 5], [6, 7]), limits).pair == Pair([2, 3], [4, 5], [6, 7])


def test_keep_end_gives_each_side_its_own_context_where_they_differ():
    limits = Limits(max_length=4, truncation_mode="keep_end")
    expected = Pair([], [2, 3, 4, 5], [6, 7, 8, 9], chosen_context=2, rejected_context=1, index=3)
    assert truncate(Pair([1, 2, 3], [4, 5], [6, 6, 7, 8, 9], index=3), limits).pair == expected


def test_prompts_keep_their_end_and_completions_their_start():
    limits = Limits(max_prompt_length=2, max_completion_length=1)
    assert truncate(Pair([1, 2, 3], [4, 5], [6]), limits) == (
        Pair([2, 3], [4], [6]),
        ("max_prompt_length", "max_completion_length"),
    )


def test_a_prompt_cut_to_fit_is_not_dropped():
    limits = Limits(max_length=3, max_prompt_length=2)
    assert truncate(Pair([1, 2, 3], [4, 5], [6]), limits).pair == Pair([2, 3], [4], [6])


def test_no_limits_cut_nothing():
    pair = Pair(list(range(50)), [1] * 500, [2] * 500)
    assert truncate(pair, Limits()) == (pair, ())


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_length": 1}, "max_length is 1; it must be at least 2"),
        ({"max_prompt_length": 0}, "max_prompt_length is 0; it must be at least 1"),
        ({"max_completion_length": -4}, "max_completion_length is -4"),
        ({"truncation_mode": "keep_ends"}, "Did you mean 'keep_end'"),
    ],
)
def test_limits_that_cannot_work_are_errors(limits, message):
    with pytest.raises(ConfigError, match=message):
        Limits(**limits)


MASKED = Pair([1, 2, 3], [4, 5, 6, 7], [8, 9], index=2, chosen_trained=[True, False, False, True])


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(), MASKED),
        (Limits(max_completion_length=3), MASKED._replace(chosen=[4, 5, 6], chosen_trained=[True, False, False])),
        (Limits(max_length=5), MASKED._replace(chosen=[4, 5], chosen_trained=[True, False])),
        (Limits(max_length=4), MASKED._replace(chosen=[4], rejected=[8], chosen_trained=None)),  # nothing is left out
        (  # the sides keep different parts of the prompt: 1 and 3 tokens of it
            Limits(max_length=5, truncation_mode="keep_end"),
            MASKED._replace(
                prompt=[],
                chosen=[3, 4, 5, 6, 7],
                rejected=[1, 2, 3, 8, 9],
                chosen_context=1,
                rejected_context=3,
                chosen_trained=[False, True, False, False, True],
            ),
        ),
        (  # the first token left of chosen is context, whatever its mask says
            Limits(max_length=3, truncation_mode="keep_end"),
            MASKED._replace(
                prompt=[],
                chosen=[5, 6, 7],
                rejected=[3, 8, 9],
                chosen_context=1,
                rejected_context=1,
                chosen_trained=[False, False, True],
            ),
        ),
        (  # so that the one that is left bears loss, and no mask is needed
            Limits(max_length=2, truncation_mode="keep_end"),
            MASKED._replace(
                prompt=[], chosen=[6, 7], rejected=[8, 9], chosen_context=1, rejected_context=1, chosen_trained=None
            ),
        ),
    ],
    ids=str,
)
def test_a_mask_is_cut_along_with_its_completion(limits, expected):
    assert truncate(MASKED, limits).pair == expected


@given(pair=PAIRS, most=st.integers(2, 20), mode=st.sampled_from(["keep_start", "keep_end"]), data=st.data())
def test_a_token_keeps_its_mask_however_a_pair_is_cut(pair, most, mode, data):
    """Of a pair whose tokens are its places, those that bear loss afterwards are those that did and are completion."""
    pair = pair._replace(chosen=list(range(100, 100 + len(pair.chosen))), rejected=[200 + at for at in range(3)])
    masks = data.draw(masks_of(len(pair.chosen))), data.draw(masks_of(3))
    cut, causes = truncate(
        pair._replace(chosen_trained=masks[0], rejected_trained=masks[1]),
        Limits(max_length=most, truncation_mode=mode),
    )
    plain = truncate(pair, Limits(max_length=most, truncation_mode=mode)).pair
    if plain is None:
        assert causes == ("the prompt alone reaches max_length",)
        return
    bears = {ids[at] for ids, mask in zip((pair.chosen, pair.rejected), masks, strict=True) for at in range(len(ids))
             if mask is None or mask[at]}  # fmt: skip
    left = [[token for token in completion if token in bears] for _, completion in sides(plain)]
    if not all(left):
        assert (cut, causes) == (None, ("cut to length, no token of a completion bears loss",))
        return
    assert cut is not None
    found = [[ids[at] for at in trained_places(cut, side)] for side, ids in enumerate((cut.chosen, cut.rejected))]
    assert found == left
    assert sides(cut) == sides(plain)


def test_a_completion_without_a_token_that_bears_loss_drops_its_pair():
    silent = MASKED._replace(chosen_trained=[False] * 4)
    assert truncate(silent, Limits()) == (None, ("no token of a completion bears loss",))
