"""Checks before the first step: models that do not fit together, settings without effect or hardly meant so."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from easydel.data.endings import check_ending
from easydel.data.pair import NEUTRAL
from easydel.errors import ConfigError, warn
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.trainers.config import DPOConfig
from easydel.trainers.datasets import TrainSet
from easydel.trainers.intervals import Intervals
from easydel.trainers.optimizer import schedule_of
from easydel.trainers.options.evaluation import NEED_EVAL_ROWS, OF_EVALUATE
from easydel.trainers.options.losses import TRAITS
from easydel.trainers.options.schedules import POLYNOMIAL_END
from easydel.trainers.warning_signs import FEWEST_PROMPTS

LARGE_END = 0.05  # of the learning rate, that a schedule ends at by default
_TIME_SCALE = 10_000  # steps of inverse_sqrt without a warm-up


def check_loaded(model: object, reference_model: object) -> None:
    """Raises ConfigError for a model that is not a `CausalLM`: a name, as TRL takes it, or a model of torch."""
    for given, value in (("model", model), ("reference_model", reference_model)):
        if not isinstance(value, CausalLM) and not (value is None and given == "reference_model"):
            raise ConfigError(
                f"{given} is {value!r:.80} ({type(value).__name__}): give what "
                "AutoEasyDeLModelForCausalLM.from_pretrained returns for a folder or a name on the hub."
            )


def check_models(config: DPOConfig, model: CausalLM, reference: CausalLM | None) -> None:
    """Raises ConfigError where policy, reference and settings contradict each other."""
    if reference is None:
        return
    if not config.needs_reference:
        why = "reference_free = True" if config.reference_free else f"loss_type {config.loss_type!r}"
        raise ConfigError(f"{why} trains without a reference, but a reference_model was given: drop one.")
    if reference.config.vocab_size != model.config.vocab_size:
        raise ConfigError(
            f"the reference model has {reference.config.vocab_size} token ids and the policy "
            f"{model.config.vocab_size}: their log-probabilities cannot be compared. Take models of one family."
        )
    if reference.decoder.mesh != model.decoder.mesh:
        raise ConfigError(
            f"the reference model lies on a mesh of {_sizes(reference)} devices and the policy on one of "
            f"{_sizes(model)} (dp, fsdp, ep, tp, sp): load both with the same sharding_axis_dims."
        )
    shapes, ours = (jax.tree.map(jnp.shape, each.params) for each in (reference, model))
    if config.sync_ref_model and shapes != ours:
        raise ConfigError(
            "sync_ref_model = True mixes the weights of policy and reference, but their shapes differ: "
            "take a reference of the same architecture, or leave sync_ref_model off."
        )


def _sizes(model: CausalLM) -> str:
    return " x ".join(str(size) for size in model.decoder.mesh.devices.shape)


def check_tokenizer(tokenizer: Any, model: ModelConfig) -> None:
    """Raises ConfigError for a tokenizer that cannot end a completion, or has ids the model has no embedding for."""
    if tokenizer is None:
        return
    check_ending(tokenizer)
    if len(tokenizer) > model.vocab_size:
        raise ConfigError(
            f"the tokenizer has {len(tokenizer)} ids, but the model's embedding has {model.vocab_size} rows. "
            "Take the tokenizer that belongs to the model."
        )


def check_evaluation(config: DPOConfig, *, has_rows: bool, has_tokenizer: bool) -> None:
    """Raises ConfigError for settings of evaluation that have no effect without rows or tokenizer."""
    if config.test_split_size is not None and has_rows:
        raise ConfigError(
            f"test_split_size = {config.test_split_size:g} takes eval rows from the training rows, and "
            "eval_dataset gives others: drop one of the two."
        )
    for name in () if has_rows or config.test_split_size is not None else NEED_EVAL_ROWS:
        value = getattr(config, name)
        if value != getattr(DPOConfig, name) and name not in OF_EVALUATE:
            raise ConfigError(
                f"{name} = {value!r} needs eval rows: give eval_dataset= or test_split_size, or leave {name} out."
            )
    if config.generation_prompts and not has_tokenizer:
        raise ConfigError(
            f"generation_prompts = {config.generation_prompts} needs a tokenizer to show the answers as text: give "
            "processing_class=, or leave generation_prompts out."
        )


def check_stop_on(config: DPOConfig, *, has_rows: bool, has_adapters: bool) -> None:
    """Raises ConfigError for a warning sign that a run is to end at and that this run cannot show."""
    answers = config.generation_prompts >= FEWEST_PROMPTS and config.generation_interval is not None
    can_show = {
        **dict.fromkeys(("overfitting", "length_only"), (has_rows, "eval rows: give eval_dataset= or test_split_size")),
        **dict.fromkeys(
            ("answers_longer", "answers_repeat"),
            (answers, f"sample answers under way: set generation_prompts >= {FEWEST_PROMPTS} and generation_interval"),
        ),
        "adapters_unmoved": (has_adapters, "adapters: set lora_rank"),
    }
    for sign in config.stop_on or []:
        shown, needs = can_show.get(sign, (True, ""))
        if not shown:
            raise ConfigError(f"stop_on = {sign!r} needs {needs}, or leave {sign} out.")


def warn_of_no_eval_rows(config: DPOConfig) -> None:
    """Warns of settings of evaluation that have no effect on training, as there are no eval rows."""
    for name in OF_EVALUATE:
        value = getattr(config, name)
        if value is not None:
            warn(
                f"{name} = {value} has no effect on training, which has no eval rows: give eval_dataset= or "
                "test_split_size. Only evaluate(dataset) obeys it."
            )


def warn_of_sync(config: DPOConfig, total_steps: int) -> None:
    """Warns of a reference that is to follow the policy in steps that the run does not have."""
    if config.sync_ref_model and config.ref_model_sync_steps > total_steps:
        warn(
            f"sync_ref_model = True moves the reference every ref_model_sync_steps = {config.ref_model_sync_steps} "
            f"steps, and the run has {total_steps}: it never moves. Lower ref_model_sync_steps, or leave both out."
        )


def check_dropout(config: DPOConfig, model: CausalLM) -> None:
    """Warns where the model's own dropout is asked for and it has none.

    Raises:
        ConfigError: it has one that is not built here.
    """
    rate = model.config.residual_dropout
    if not config.disable_dropout and rate:
        raise ConfigError(
            f"disable_dropout = False, and residual_dropout is {rate} in the config.json of the model: dropout of the "
            "residual stream is not supported. Leave disable_dropout on."
        )
    if not config.disable_dropout and not model.config.attention_dropout:
        warn(
            "disable_dropout = False has no effect: the model has no dropout of its own (attention_dropout is 0 in its "
            "config.json). Set it there, take lora_dropout for that of adapters, or leave disable_dropout out."
        )


def check_run(config: DPOConfig, model: CausalLM, data: TrainSet) -> None:
    """Warns of a rate, dropout, a synced reference or margins without effect, and of rows too long for the model."""
    warn_of_learning_rate(config, data.intervals)
    check_dropout(config, model)
    warn_of_sync(config, data.intervals.total_steps)
    known, pairs = model.config.max_position_embeddings, data.loader.pairs
    longest = max(len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)) for pair in pairs)
    if longest > known:
        warn(
            f"the longest row has {longest} tokens, but the model was made for {known} (max_position_embeddings): set "
            f"max_length = {known} unless you know that it reads further."
        )
    for name in {"margin", "preference"} - config.row_numbers:
        neutral = getattr(NEUTRAL, name)
        asking = next((pair for pair in pairs if getattr(pair, name) != neutral), None)
        if asking is not None:
            users = ", ".join(loss for loss, traits in TRAITS.items() if name in traits.numbers)
            warn(
                f"the rows have a {name!r} (row {asking.index}: {getattr(asking, name):g}), which loss_type "
                f"{config.loss_type!r} does not use: it is ignored. These do: {users}."
            )


def warn_of_learning_rate(config: DPOConfig, intervals: Intervals) -> None:
    """Warns of a rate that will hardly be what was meant: a warm-up without end, a fall that never comes."""
    for words in (*_of_warmup(config, intervals), *_of_fall(config, intervals)):
        warn(words)


def _of_warmup(config: DPOConfig, intervals: Intervals) -> Iterator[str]:
    steps, name = intervals.total_steps, "warmup_ratio" if config.warmup_ratio else "warmup_steps"
    asked = f"{name} = {getattr(config, name)}"
    if intervals.warmup_steps >= steps > 1:
        yield f"{asked} is not over in a run of {steps} steps: the learning rate never reaches {config.learning_rate}."
    elif steps == 1 and not schedule_of(config, intervals)(0):
        yield (
            f"the only step of the run begins the warm-up ({asked}), at a learning rate of 0, and changes nothing: "
            f"train for more steps, or set {name} = 0."
        )


def _of_fall(config: DPOConfig, intervals: Intervals) -> Iterator[str]:
    steps, given = intervals.total_steps, config.lr_scheduler_kwargs or {}
    lengths = (intervals.warmup_steps, intervals.stable_steps, intervals.decay_steps)
    if intervals.decay_steps and sum(lengths) != steps > intervals.warmup_steps:
        left = steps - sum(lengths)
        ends = "before its fall is over" if left < 0 else f"with {left} steps at its lowest rate"
        yield (
            f"scheduler 'warmup_stable_decay' has {' + '.join(map(str, lengths))} steps (warm-up, num_stable_steps and "
            f"num_decay_steps), and the run has {steps}: it ends {ends}. Leave num_stable_steps out to fill the run."
        )
    share = POLYNOMIAL_END / config.learning_rate
    is_given = config.learning_rate_end is not None or "lr_end" in given
    if config.scheduler == "polynomial" and not is_given and share >= LARGE_END:
        yield (
            f"scheduler 'polynomial' falls to {POLYNOMIAL_END}, as in transformers, which is {share:.0%} of "
            f"learning_rate = {config.learning_rate}: say with learning_rate_end where it ends."
        )
    if config.scheduler == "inverse_sqrt" and not intervals.warmup_steps and not given and 1 < steps < _TIME_SCALE:
        last = (1 + (steps - 1) / _TIME_SCALE) ** -0.5
        yield (
            f"scheduler 'inverse_sqrt' without a warm-up has a time scale of {_TIME_SCALE} steps, as in transformers: "
            f"the last of {steps} steps has {last:.0%} of learning_rate. Set warmup_steps, or timescale in "
            "lr_scheduler_kwargs."
        )
