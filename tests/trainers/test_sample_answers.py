"""Sample answers, also where the sides of a pair keep different parts of the prompt."""

import numpy as np

from easydel.data.pair import Pair
from easydel.trainers.sample_answers import answer_prompts, prompts_of, side_by_side
from oracles.tiny import tiny_model
from oracles.tokenizers import tiny_tokenizer


def test_a_pair_whose_sides_keep_their_own_context_is_answered_from_the_chosen_one():
    model, tokenizer = tiny_model(), tiny_tokenizer()
    whole = Pair([3, 4, 5], [6], [7])
    apart = Pair([], [3, 4, 5, 6], [4, 5, 7], chosen_context=3, rejected_context=2)
    one, other = answer_prompts(
        model, tokenizer, [prompts_of([pair], 1)[0] for pair in (whole, apart)], step=4, max_new_tokens=5
    )
    assert one == other
    expected = model.generate(np.array([[3, 4, 5]]), max_new_tokens=5, eos_token_id=tokenizer.eos_token_id)[0, 3:]
    assert one == {
        "step": 4,
        "prompt": tokenizer.decode([3, 4, 5]),
        "answer": tokenizer.decode(expected, skip_special_tokens=True),
    }


def test_prompts_come_from_all_over_the_data_and_each_once():
    pairs = [Pair([at // 2], [6], [7]) for at in range(12)]  # each prompt twice
    assert prompts_of(pairs, 3) == [[0], [2], [4]]
    assert prompts_of(pairs, 5) == [[0], [1], [2], [3], [4]]
    assert sorted(prompts_of(pairs, 50)) == [[0], [1], [2], [3], [4], [5]]


def test_on_the_terminal_long_texts_take_one_line():
    sample = {"step": 3, "prompt": "word " * 50 + "why?", "answer": "because " * 50}
    prompt, answer = side_by_side([sample]).splitlines()
    assert prompt.startswith("... ")
    assert prompt.endswith(" why?")
    assert answer.startswith("  step 3: because")
    assert answer.endswith(" ...")
    assert max(len(prompt), len(answer)) < 120
