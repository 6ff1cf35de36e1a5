"""Where a run starts: from the model as it was given, or from the newest checkpoint of the same run."""

from collections.abc import Sequence

import optax

from easydel.data.pair import Pair
from easydel.errors import ConfigError
from easydel.models.causal_lm import CausalLM
from easydel.models.rows import tensors
from easydel.trainers.checkpoint import Checkpointer, Progress, Saved, form_of
from easydel.trainers.config import DPOConfig
from easydel.trainers.optimizer import make_optimizer
from easydel.trainers.pace import Pace
from easydel.trainers.reference import Reference
from easydel.trainers.run_folder import RunFolder
from easydel.trainers.schedule import Course, make_schedule
from easydel.trainers.schedule_settings import end_of
from easydel.trainers.setup import fingerprint, trained_copy, weights_fingerprint
from easydel.trainers.split import ALL_TRAINED, Split
from easydel.trainers.state import initial_state


def schedule_of(config: DPOConfig, pace: Pace) -> optax.Schedule:
    """Returns the learning rate that the settings describe, by updates done."""
    given = config.lr_scheduler_kwargs or {}
    course = Course(
        total_steps=pace.total_steps,
        warmup_steps=pace.warmup_steps,
        end=end_of(config) / config.learning_rate,
        stable_steps=pace.stable_steps,
        decay_steps=pace.decay_steps,
    )
    course = course._replace(**{name: value for name, value in given.items() if name in Course._fields})
    return make_schedule(config.scheduler, learning_rate=config.learning_rate, course=course)


def optimizer_of(
    config: DPOConfig, schedule: optax.Schedule, model: CausalLM, split: Split = ALL_TRAINED
) -> optax.GradientTransformation:
    """Returns the optimizer that the settings describe, for the trained weights of one model."""
    return make_optimizer(
        config.optimizer,
        schedule,
        tensors=split.of_trained(tensors(model.rows)),
        weight_decay=config.weight_decay,
        clip_grad=config.clip_grad,
        beta1=config.adam_beta1,
        beta2=config.adam_beta2,
        epsilon=config.adam_epsilon,
        mu_dtype=config.mu_dtype,
        nu_dtype=config.nu_dtype,
    )


def starting_point(
    config: DPOConfig,
    model: CausalLM,
    split: Split,
    optimizer: optax.GradientTransformation,
    reference: Reference,
    pairs: Sequence[Pair],
    folder: RunFolder,
    checkpointer: Checkpointer,
    total_steps: int,
) -> Saved:
    """Returns the state to train on from; the weights of a reference that moves are put back where they were.

    Raises:
        ConfigError: the run to continue had other pairs, another reference, other frozen weights, or a model of
            another structure, or has gone past the last step already.
    """
    params = trained_copy(split.trained_part(model.params), config.param_dtype)
    state = initial_state(params, optimizer, config.seed, model.decoder.mesh)
    moving = reference.moving if config.sync_ref_model else None
    weights, frozen = reference.fingerprint(), weights_fingerprint(split.frozen_part(model.params))
    fresh = Saved(state, Progress(0, 0, 0, fingerprint(pairs), weights, frozen=frozen), moving)
    newest = checkpointer.latest() if folder.continues else None
    if newest is None:
        return fresh
    if newest > total_steps:
        raise ConfigError(
            f"resume = 'auto' found a checkpoint of step {newest} in {folder.path}, past the {total_steps} steps "
            "that the run has now: raise max_training_steps or num_train_epochs, or set resume = 'never'."
        )
    saved = checkpointer.restore(newest, form_of(fresh))
    if saved.progress.data != fresh.progress.data:
        raise ConfigError(
            f"resume = 'auto' cannot continue the run in {folder.path}: its training pairs were others (fingerprint "
            f"{saved.progress.data}, now {fresh.progress.data}). Give it the same data and tokenizer, choose another "
            "model_name, or set resume = 'never' to start again."
        )
    if saved.progress.reference != weights:
        raise ConfigError(
            f"resume = 'auto' cannot continue the run in {folder.path}: its reference had other weights. Give it "
            "the model (and reference_model, if there was one) it started with, not the one it trained; choose another "
            "model_name, or set resume = 'never' to start again."
        )
    if saved.progress.frozen != frozen:
        raise ConfigError(
            f"resume = 'auto' cannot continue the run in {folder.path}: its frozen weights were others. Give it the "
            "model it started with; choose another model_name, or set resume = 'never' to start again."
        )
    if moving is not None:
        reference.move_to(saved.reference)
    return saved
