"""Sample answers, also where the sides of a pair keep different parts of the prompt."""

import numpy as np

from easydel.data.pair import Pair
from easydel.trainers.samples import answer_prompts
from oracles.tiny import tiny_model
from oracles.tokenizers import tiny_tokenizer


def test_a_pair_whose_sides_keep_their_own_context_is_answered_from_the_chosen_one():
    model, tokenizer = tiny_model(), tiny_tokenizer()
    whole = Pair([3, 4, 5], [6], [7])
    apart = Pair([], [3, 4, 5, 6], [4, 5, 7], chosen_context=3, rejected_context=2)
    one, other = answer_prompts(model, tokenizer, [whole, apart], step=4, max_new_tokens=5)
    assert one == other
    expected = model.generate(np.array([[3, 4, 5]]), max_new_tokens=5, eos_token_id=tokenizer.eos_token_id)[0, 3:]
    assert one == {
        "step": 4,
        "prompt": tokenizer.decode([3, 4, 5]),
        "answer": tokenizer.decode(expected, skip_special_tokens=True),
    }
