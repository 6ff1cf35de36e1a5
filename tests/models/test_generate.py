"""Generation: stopping, padding, sampling. That greedy tokens are right is held in `test_decoder.py`."""

import dataclasses

import jax
import numpy as np
import pytest

from easydel.errors import ConfigError
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.models.generate import Sampling, _generate, _LoopConfig, _prefill
from easydel.sharding import make_mesh
from oracles.cases import CASES, TOKENS
from oracles.folders import write_model
from oracles.products import precisions

PROMPT = TOKENS[:, :5]


@pytest.fixture(scope="module")
def model():
    # A large initializer_range makes the distribution over tokens far from flat.
    config = ModelConfig.from_hf(CASES["llama-gqa"] | {"initializer_range": 0.3})
    return CausalLM.from_config(config, seed=3, mesh=make_mesh((1, 1, 1, 1, 1)))


def test_greedy_generation_repeats_the_argmax_of_the_full_forward_pass(model):
    ids = PROMPT
    for _ in range(6):
        ids = np.concatenate([ids, np.argmax(model(ids).logits[:, -1:], axis=-1)], axis=1)
    np.testing.assert_array_equal(model.generate(PROMPT, max_new_tokens=6), ids)


def test_rows_of_different_lengths_continue_as_they_do_alone_whichever_side_is_padded(model):
    prompts = [TOKENS[0, :3], TOKENS[0, 3:10], TOKENS[0, 10:15]]
    alone = [model.generate(ids[None], max_new_tokens=5)[0, len(ids) :] for ids in prompts]
    for side in ("left", "right"):
        ids, mask = np.zeros((2, 3, 7), int)
        for row, prompt in enumerate(prompts):
            places = slice(7 - len(prompt), 7) if side == "left" else slice(0, len(prompt))
            ids[row, places], mask[row, places] = prompt, 1
        np.testing.assert_array_equal(model.generate(ids, mask, max_new_tokens=5)[:, 7:], alone)


@pytest.mark.parametrize("name", ["gemma2", "phi3-long", "qwen3-moe", "granite-biases", "lfm2", "qwen3-5"])
def test_windows_experts_and_scaled_positions_continue_padded_rows_as_they_do_alone(name, tmp_path):
    """Prompts longer and shorter than the windows; rows of phi3-long pass its original length at different steps."""
    options = {"dtype": "float32", "sharding_axis_dims": (1, 1, 1, 1, 1)}
    model = AutoEasyDeLModelForCausalLM.from_pretrained(write_model(tmp_path, CASES[name]), **options)
    prompts = [TOKENS[0, :3], TOKENS[0, 3:17], TOKENS[0, 10:18]]
    alone = [model.generate(ids[None], max_new_tokens=8)[0, len(ids) :] for ids in prompts]
    ids, mask = np.zeros((2, 3, 14), int)
    for row, prompt in enumerate(prompts):
        ids[row, 14 - len(prompt) :], mask[row, 14 - len(prompt) :] = prompt, 1
    np.testing.assert_array_equal(model.generate(ids, mask, max_new_tokens=8)[:, 14:], alone)


def test_a_row_that_ended_before_a_cache_was_made_anew_stays_ended(tmp_path):
    options = {"dtype": "float32", "sharding_axis_dims": (1, 1, 1, 1, 1)}
    model = AutoEasyDeLModelForCausalLM.from_pretrained(write_model(tmp_path, CASES["phi3-long"]), **options)
    prompts = TOKENS[:, :6].repeat(2, axis=0)
    prompts[1] = TOKENS[0, 12:18]
    free = model.generate(prompts, max_new_tokens=14)[:, 6:]
    end = next(int(token) for token in free[0, :8] if token not in free[1])
    stopped = model.generate(prompts, max_new_tokens=14, eos_token_id=end, pad_token_id=0)[:, 6:]
    at = int(np.flatnonzero(free[0] == end)[0])
    np.testing.assert_array_equal(stopped[0], [*free[0, : at + 1], *[0] * (13 - at)])
    np.testing.assert_array_equal(stopped[1], free[1])


def test_where_all_layers_have_a_window_the_cache_is_no_larger_and_the_tokens_are_the_same(tmp_path):
    """Greedy tokens of prompts shorter and longer than the window, 5, chosen from the full forward pass."""
    options = {"dtype": "float32", "sharding_axis_dims": (1, 1, 1, 1, 1)}
    model = AutoEasyDeLModelForCausalLM.from_pretrained(write_model(tmp_path, CASES["mistral"]), **options)
    for length in (3, 19):
        ids = TOKENS[:, :length]
        found = model.generate(ids, max_new_tokens=7)
        whole = np.asarray(model(found).logits[0])
        np.testing.assert_array_equal(found[0, length:], np.argmax(whole[length - 1 : -1], axis=-1))
    prompt = np.ones((1, 32), np.int32)
    _, cache = jax.eval_shape(lambda params: _prefill(model.decoder, params, prompt, prompt, 16), model.params)
    assert [x.shape[:3] for x in cache["attention"]] == [(2, 1, 5)] * 2


def test_prompts_of_any_length_and_number_share_a_few_programs(model):
    """Lengths 1 to 24 are two sizes, 1 to 4 rows three, and 1 to 16 new tokens one."""
    before = _generate._cache_size()
    for length, rows, new in ((1, 1, 1), (16, 1, 9), (9, 3, 16), (12, 4, 2), (17, 3, 5), (24, 4, 16), (20, 2, 3)):
        assert model.generate(np.full((rows, length), 3), max_new_tokens=new).shape == (rows, length + new)
    assert _generate._cache_size() - before <= 4


def test_sampling_on_a_mesh_draws_what_one_device_draws(model):
    split = CausalLM.from_config(model.config, seed=3, mesh=make_mesh((1, 2, 1, 2, 1)))
    prompts = np.repeat(PROMPT, 3, axis=0)
    options = {"max_new_tokens": 6, "temperature": 1.5, "top_k": 20, "repetition_penalty": 1.3, "seed": 4}
    np.testing.assert_array_equal(split.generate(prompts, **options), model.generate(prompts, **options))


def test_a_repetition_penalty_divides_what_is_positive_and_multiplies_what_is_negative(model):
    """Greedy tokens, each chosen from the logits of the full forward pass with the rule written out."""
    ids = PROMPT[0].tolist()
    for _ in range(8):
        logits = np.asarray(model(np.array([ids])).logits[0, -1], np.float64)
        for token in set(ids):
            logits[token] = logits[token] / 1.7 if logits[token] > 0 else logits[token] * 1.7
        ids.append(int(np.argmax(logits)))
    found = model.generate(PROMPT, max_new_tokens=8, repetition_penalty=1.7)
    np.testing.assert_array_equal(found[0], ids)
    assert (found != model.generate(PROMPT, max_new_tokens=8)).any()


def test_a_row_ends_at_its_end_of_sequence_and_is_padded_after_it(model):
    free = model.generate(PROMPT, max_new_tokens=8)[0, 5:]
    end = int(free[2])
    first = int(np.flatnonzero(free == end)[0])
    stopped = model.generate(PROMPT, max_new_tokens=8, eos_token_id=[end, 47])[0, 5:]
    np.testing.assert_array_equal(stopped, free[: first + 1])
    other = TOKENS[:, 8:13]
    both = model.generate(np.r_[PROMPT, other], max_new_tokens=8, eos_token_id=end, pad_token_id=0)[0, 5:]
    np.testing.assert_array_equal(both[: first + 1], free[: first + 1])
    assert (both[first + 1 :] == 0).all()


def test_sampling_repeats_with_its_seed_and_stays_inside_top_k(model):
    def draw(seed, **options):
        prompts = np.repeat(PROMPT, 64, axis=0)
        return model.generate(prompts, max_new_tokens=1, temperature=2.0, seed=seed, **options)[:, -1]

    np.testing.assert_array_equal(draw(1), draw(1))
    assert (draw(1) != draw(2)).any()
    order = np.argsort(-np.asarray(model(PROMPT).logits[0, -1]))
    assert set(draw(1, top_k=3)) == set(order[:3].tolist())
    assert set(draw(1, top_k=1)) == {order[0]}


def test_no_more_is_sampled_than_the_longest_row_needs(model):
    """Three rows are made four, of which the last is nobody's."""
    prompts = PROMPT.repeat(3, axis=0)
    for seed in range(8):
        free = model.generate(prompts, max_new_tokens=24, temperature=1.0, seed=seed, eos_token_id=())[:, 5:]
        ends = free[:, 6].tolist()  # each row ends after seven tokens, if not before
        stopped = model.generate(prompts, max_new_tokens=24, temperature=1.0, seed=seed, eos_token_id=ends)[:, 5:]
        assert stopped.shape[1] == max(int(np.isin(row, ends).argmax()) + 1 for row in free)


def test_top_p_keeps_the_fewest_tokens_that_reach_it(model):
    logits = np.asarray(model(PROMPT).logits[0, -1], np.float64)
    chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    order = np.argsort(-chances)
    top_p = float(chances[order[:2]].sum() - 1e-3)  # reached by the second token, not by the first
    prompts = np.repeat(PROMPT, 200, axis=0)
    drawn = model.generate(prompts, max_new_tokens=1, temperature=1.0, top_p=top_p)[:, -1]
    assert set(drawn) == set(order[:2].tolist())


@pytest.mark.parametrize(("precision", "expected"), [("highest", jax.lax.Precision.HIGHEST), (None, None)])
def test_the_precision_asked_for_is_that_of_every_product_of_prompt_and_new_tokens(model, precision, expected):
    precise = dataclasses.replace(model, decoder=dataclasses.replace(model.decoder, precision=precision))
    found = precisions(lambda params: generated(precise, params), model.params)
    assert found == [expected and (expected, expected)] * 20  # nine of a layer and the head, before the loop and in it


def generated(model, params):
    sampling = Sampling(4, 0.0, 1.0, 0, 1.0, seed=0, pad=0)
    how, ids, finished = _LoopConfig(16, sampled=False, penalized=False), PROMPT.astype(np.int32), np.zeros(1, bool)
    end = _generate.__wrapped__(
        model.decoder,
        how,
        params,
        ids,
        np.ones_like(ids),
        np.zeros(0, np.int32),
        sampling,
        finished,
        jax.random.key(0),
    )
    return end.out


@pytest.mark.parametrize("pad", [-1, 48, None])
def test_a_padding_id_outside_the_vocabulary_is_not_one(model, pad):
    """Some old conversions write -1 for no padding; the end-of-sequence id takes its place."""
    config = dataclasses.replace(model.config, pad_token_id=pad)
    other = dataclasses.replace(model, decoder=dataclasses.replace(model.decoder, config=config))
    prompts = np.r_[PROMPT, TOKENS[:, 8:13]]
    end = int(other.generate(prompts, max_new_tokens=1)[0, 5])
    assert (other.generate(prompts, max_new_tokens=4, eos_token_id=end)[0, 5:] == end).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"pad_token_id": -1}, r"pad_token_id \(-1\) must be in the vocabulary, 0 to 47"),
        ({"attention_mask": np.zeros((1, 5))}, "no real token"),
    ],
)
def test_settings_out_of_range_are_refused(model, options, message):
    with pytest.raises(ConfigError, match=message):
        model.generate(PROMPT, **options)
