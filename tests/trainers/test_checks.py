"""What is refused or warned of before the first step."""

import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

import easydel as ed
from easydel.errors import ConfigError
from easydel.trainers.checks import (
    check_dropout,
    check_models,
    check_tokenizer,
    warn_of_learning_rate,
    warn_of_no_eval_rows,
    warn_of_sync,
)
from easydel.trainers.config import DPOConfig
from easydel.trainers.intervals import resolve_intervals
from oracles import runs
from oracles.runs import config, id_rows
from oracles.tiny import tiny_config, tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def test_models_that_fit_each_other_are_accepted(model):
    check_models(DPOConfig(reference_free=True), model, None)
    check_models(DPOConfig(sync_ref_model=True), model, model)
    deeper = tiny_model(config=tiny_config(num_hidden_layers=3))
    check_models(DPOConfig(), model, deeper)  # only its vocabulary must be the same


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        ({"reference_free": True}, {}, "reference_free = True .* but a reference_model was given"),
        ({}, {"vocab_size": 40}, "the reference model has 40 token ids and the policy 32"),
        ({"sync_ref_model": True}, {"num_hidden_layers": 1}, "their shapes differ"),
    ],
)
def test_models_that_contradict_each_other_are_refused(model, settings, changes, message):
    reference = tiny_model(config=tiny_config(**changes))
    with pytest.raises(ConfigError, match=message):
        check_models(DPOConfig(**settings), model, reference)


class Tokenizer(SimpleNamespace):
    """What is asked of a tokenizer before training."""

    def __len__(self):
        return self.size


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eos_token": None, "chat_template": None, "size": 10}, "no eos_token, so a completion could not end"),
        ({"eos_token": "</s>", "chat_template": None, "size": 33}, "has 33 ids, but the model's embedding has 32 rows"),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        check_tokenizer(Tokenizer(**values), tiny_config())


def test_a_tokenizer_that_fits_or_none_at_all_is_accepted():
    check_tokenizer(None, tiny_config())
    check_tokenizer(Tokenizer(eos_token="</s>", chat_template=None, size=32), tiny_config())
    check_tokenizer(Tokenizer(eos_token=None, chat_template="{{ messages }}", size=20), tiny_config())


def test_rows_longer_than_the_model_was_made_for_are_worth_a_warning(tmp_path: Path) -> None:
    long = [{"prompt_ids": [2] * 60, "chosen_ids": [3] * 9 + [1], "rejected_ids": [4] * 4 + [1]}]
    with pytest.warns(UserWarning, match=r"70 tokens, but the model was made for 64"):
        ed.DPOTrainer(arguments=config(tmp_path, max_length=None), model=runs.tiny_model(), train_dataset=long)


def test_a_margin_that_no_loss_looks_at_is_worth_a_warning(tmp_path: Path) -> None:
    rows = [row | {"margin": 0.5} for row in id_rows(4)]
    with pytest.warns(UserWarning, match=r"'margin' \(row 0: 0.5\), which loss_type 'hinge' does not use"):
        ed.DPOTrainer(config(tmp_path, loss_type="hinge"), runs.tiny_model(), train_dataset=rows)
    ed.DPOTrainer(config(tmp_path), runs.tiny_model(), train_dataset=rows)


def said(steps: int, **options) -> list[str]:
    config = DPOConfig(**options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_learning_rate(config, resolve_intervals(config, steps, steps))
    return [str(warning.message) for warning in caught]


WSD = {"scheduler": "warmup_stable_decay"}


@pytest.mark.parametrize(
    ("steps", "options", "words"),
    [
        (3, {"warmup_steps": 50}, "warmup_steps = 50 is not over in a run of 3 steps"),
        (1, {"warmup_ratio": 0.1}, "the only step of the run begins the warm-up (warmup_ratio = 0.1)"),
        # 1e-7 of 5e-7
        (10, {"scheduler": "polynomial", "learning_rate": 5e-7}, "falls to 1e-07, as in transformers, which is 20% of"),
        # (1 + 999 / 10,000) ** -0.5
        (1000, {"scheduler": "inverse_sqrt"}, "the last of 1000 steps has 95% of learning_rate"),
        (
            20,
            WSD | {"lr_scheduler_kwargs": {"num_decay_steps": 5, "num_stable_steps": 10}},
            "has 0 + 10 + 5 steps (warm-up, num_stable_steps and num_decay_steps), and the run has 20: it ends with 5 "
            "steps at its lowest rate",
        ),
        (
            12,
            WSD | {"lr_scheduler_kwargs": {"num_decay_steps": 5, "num_stable_steps": 10}},
            "it ends before its fall is over",
        ),
    ],
)
def test_a_rate_that_is_hardly_meant_is_worth_a_warning(steps, options, words):
    [found] = said(steps, **options)
    assert words in found


@pytest.mark.parametrize(
    ("steps", "options"),
    [
        (1, {}),
        (1, {"scheduler": "cosine_warmup_with_min_lr", "learning_rate_end": 0.0, "warmup_steps": 1}),
        (50, {"warmup_steps": 5}),
        (10, {"scheduler": "polynomial", "learning_rate": 5e-5}),
        (10, {"scheduler": "polynomial", "learning_rate": 5e-7, "learning_rate_end": 1e-7}),
        (10, {"scheduler": "polynomial", "learning_rate": 5e-7, "lr_scheduler_kwargs": {"lr_end": 1e-7}}),
        (1000, {"scheduler": "inverse_sqrt", "warmup_steps": 10}),
        (20, WSD | {"lr_scheduler_kwargs": {"num_decay_steps": 0.2}}),
    ],
)
def test_a_rate_as_it_is_meant_is_not(steps, options):
    assert said(steps, **options) == []


def test_a_reference_that_never_moves_is_warned_of():
    with pytest.warns(UserWarning, match="ref_model_sync_steps = 64 steps, and the run has 3: it never moves"):
        warn_of_sync(DPOConfig(sync_ref_model=True), 3)
    warn_of_sync(DPOConfig(sync_ref_model=True, ref_model_sync_steps=3), 3)


@pytest.mark.parametrize("name", ["max_evaluation_steps", "eval_batch_size"])
def test_a_limit_of_evaluations_that_there_are_none_of_is_warned_of(name):
    with pytest.warns(UserWarning, match=f"{name} = 2 has no effect on training, which has no eval rows"):
        warn_of_no_eval_rows(DPOConfig(**{name: 2}))
    warn_of_no_eval_rows(DPOConfig())


def test_dropout_that_the_model_has_not_is_warned_of():
    plain = tiny_model()
    with pytest.warns(UserWarning, match="disable_dropout = False has no effect: the model has no dropout of its own"):
        check_dropout(DPOConfig(disable_dropout=False), plain)
    check_dropout(DPOConfig(), plain)
    dropping = tiny_model(config=tiny_config(attention_dropout=0.1))
    check_dropout(DPOConfig(disable_dropout=False), dropping)
