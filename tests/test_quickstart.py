"""The pairs and the model that ship with the package are what their scripts and descriptions say."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp
from safetensors.numpy import load_file

from easydel import quickstart
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.scripts.finetune.command_line import QUICK_START
from easydel.trainers.config import DPOConfig
from easydel.trainers.dpo import DPOTrainer

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts" / "quickstart"
MODEL_LIMIT = 2_000_000  # bytes


def rows(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def train() -> list[dict[str, str]]:
    return rows(quickstart.train_file())


@pytest.fixture(scope="module")
def held_out() -> list[dict[str, str]]:
    return rows(quickstart.eval_file())


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(quickstart.model_folder()))


@pytest.fixture(scope="module")
def model():
    return AutoEasyDeLModelForCausalLM.from_pretrained(quickstart.model_folder(), dtype=jnp.float32)


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+|[.!?,]", text))


def test_there_are_1200_training_pairs_and_200_held_out_pairs(train, held_out):
    assert (len(train), len(held_out)) == (1200, 200)


def test_every_row_is_a_prompt_with_two_different_completions(train, held_out):
    for row in train + held_out:
        assert list(row) == ["prompt", "chosen", "rejected"]
        assert re.fullmatch(r"User: [^\n]+[.?]\nAssistant:", row["prompt"])
        assert row["chosen"] != row["rejected"]
        for side in ("chosen", "rejected"):
            assert re.fullmatch(r" \w[^\n]+[.!?]", row[side])


def test_no_prompt_is_asked_twice_so_no_held_out_prompt_is_in_training(train, held_out):
    prompts = [row["prompt"] for row in train + held_out]
    assert len(set(prompts)) == len(prompts)


def test_neither_side_is_longer_as_a_rule(train, held_out):
    lengths = np.array([[len(row[side]) for side in ("chosen", "rejected")] for row in train + held_out])
    assert abs(np.diff(lengths.mean(axis=0))[0]) < 0.05 * lengths.mean()
    assert 0.4 < np.mean(lengths[:, 0] > lengths[:, 1]) < 0.6


def test_no_single_word_gives_the_preference_away(train, held_out):
    """Choosing by one word, and guessing where both sides have it or lack it, is right for at most 2/3 of the pairs."""
    pairs = [(words(row["chosen"]), words(row["rejected"])) for row in train + held_out]
    excess = Counter(word for chosen, rejected in pairs for word in chosen - rejected)
    excess.subtract(Counter(word for chosen, rejected in pairs for word in rejected - chosen))
    word, count = max(excess.items(), key=lambda item: abs(item[1]))
    assert 0.5 + abs(count) / len(pairs) / 2 < 2 / 3, word


@pytest.mark.parametrize("fact", ["The capital of France is Paris.", "The opposite of hot is cold.", "3 plus 4 is 7."])
def test_right_answers_are_chosen_and_can_be_checked_by_hand(fact, train, held_out):
    start = fact.rsplit(" ", 1)[0]
    answers = [row["chosen"] for row in train + held_out if start in row["chosen"]]
    assert answers
    assert all(fact in answer for answer in answers)


def test_chosen_sums_are_right(train, held_out):
    sums = [
        found
        for row in train + held_out
        for found in re.findall(r"(\d+) (plus|minus) (\d+) (?:is|makes) (\d+)", row["chosen"])
    ]
    assert len(sums) > 50
    for a, sign, b, result in sums:
        assert int(a) + (int(b) if sign == "plus" else -int(b)) == int(result)


def test_the_script_writes_the_pairs_that_ship(tmp_path):
    subprocess.run([sys.executable, str(SCRIPTS / "make_pairs.py"), "--folder", str(tmp_path)], check=True)
    for file in (quickstart.train_file(), quickstart.eval_file()):
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()


def test_the_weights_are_bfloat16_and_at_most_two_megabytes():
    file = quickstart.model_folder() / "model.safetensors"
    assert file.stat().st_size <= MODEL_LIMIT
    assert {str(tensor.dtype) for tensor in load_file(file).values()} == {"bfloat16"}


def test_a_pair_is_at_most_a_hundred_tokens_and_prompts_are_prefixes(train, held_out, tokenizer):
    for row in train + held_out:
        prompt = tokenizer(row["prompt"])["input_ids"]
        sides = [tokenizer(row["prompt"] + row[side])["input_ids"] for side in ("chosen", "rejected")]
        assert all(side[: len(prompt)] == prompt for side in sides)
        assert sum(map(len, sides)) - len(prompt) + 2 <= 100  # both completions end with a token of their own


def test_the_chat_template_writes_the_text_of_the_pairs(train, tokenizer):
    row = train[0]
    question = re.fullmatch(r"User: (.*)\nAssistant:", row["prompt"]).group(1)
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": row["chosen"].strip()}]
    prompt = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    assert prompt == row["prompt"]
    whole = tokenizer.apply_chat_template(turns, tokenize=False)
    assert whole == row["prompt"] + row["chosen"] + tokenizer.eos_token


def test_the_tokenizer_gives_back_any_text(tokenizer):
    text = "Grüße, 你好 🙂\n\ttabs  and spaces"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def log_probabilities(model, tokenizer, pairs: list[dict[str, str]], side: str) -> np.ndarray:
    """Returns log p(completion, end of text | prompt) of each pair, from plain logits of right-padded rows."""
    prompts = [tokenizer(row["prompt"])["input_ids"] for row in pairs]
    texts = [[*tokenizer(row["prompt"] + row[side])["input_ids"], tokenizer.eos_token_id] for row in pairs]
    tokens = np.zeros((len(pairs), max(map(len, texts))), np.int32)
    place = np.arange(tokens.shape[1])
    mask = place < np.array([len(text) for text in texts])[:, None]
    completion = mask & (place >= np.array([len(prompt) for prompt in prompts])[:, None])
    tokens[mask] = np.concatenate(texts)
    logits = np.asarray(model(tokens, mask).logits)[:, :-1]
    log_probs = np.take_along_axis(logits, tokens[:, 1:, None], axis=-1)[..., 0] - logsumexp(logits, axis=-1)
    return np.sum(log_probs, axis=1, where=completion[:, 1:])


def test_before_dpo_the_model_prefers_neither_manner(model, tokenizer, held_out):
    chosen, rejected = (log_probabilities(model, tokenizer, held_out, side) for side in ("chosen", "rejected"))
    assert 0.4 <= np.mean(chosen > rejected) <= 0.6


def test_before_dpo_the_model_writes_a_finished_answer(model, tokenizer, held_out):
    for row in held_out[:10]:
        prompt = tokenizer(row["prompt"])["input_ids"]
        tokens = model.generate(np.array([prompt]), max_new_tokens=64)[0, len(prompt) :].tolist()
        assert tokens[-1] == tokenizer.eos_token_id
        assert re.fullmatch(r" [A-Z0-9][^\n]+[.!?]", tokenizer.decode(tokens[:-1]))


@pytest.mark.slow
def test_the_quick_start_learns_what_held_out_pairs_prefer(model, tokenizer, train, held_out, tmp_path):
    settings = {**QUICK_START, "save_directory": str(tmp_path), "do_last_save": False, "progress_bar_type": "none"}
    trainer = DPOTrainer(
        arguments=DPOConfig(**settings),
        model=model,
        processing_class=tokenizer,
        train_dataset=train,
        eval_dataset=held_out,
    )
    assert trainer.train().metrics["eval_rewards/accuracies"] >= 0.9
    chosen, rejected = (log_probabilities(trainer.model, tokenizer, held_out, side) for side in ("chosen", "rejected"))
    assert np.mean(chosen > rejected) >= 0.9
