"""Where a run starts: from the model as it was given, or from the newest checkpoint of the same run."""

from dataclasses import replace

import jax.numpy as jnp
import optax

from easydel.errors import ConfigError
from easydel.processes import agreed, is_first
from easydel.trainers.config import DPOConfig
from easydel.trainers.datasets import total_steps
from easydel.trainers.fingerprints import pairs_fingerprint, two_vectors_fingerprint
from easydel.trainers.intervals import resolve_intervals
from easydel.trainers.optimizer import schedule_of
from easydel.trainers.options.schedules import depends_on_length
from easydel.trainers.record.checkpoint import Checkpoint, Checkpointer, Progress, abstract_checkpoint
from easydel.trainers.record.files import rewind
from easydel.trainers.record.run_folder import RunFolder
from easydel.trainers.record.same_run import SameRun
from easydel.trainers.run_plan import RunPlan
from easydel.trainers.train_state import initial_state, trained_copy

_LENGTHS = ("num_train_epochs", "max_training_steps")


def starting_point(
    plan: RunPlan, optimizer: optax.GradientTransformation, folder: RunFolder, checkpointer: Checkpointer
) -> Checkpoint:
    """Returns the state to train on from, after removing what the run wrote of later steps.

    The weights of a reference that moves are put back where they were. What became of a run that is longer now, or
    goes on with other libraries, is said.

    Raises:
        ConfigError: the run to continue had a model or optimizer of another structure.
    """
    config, model, reference = plan.config, plan.model, plan.reference
    params = trained_copy(plan.partition.trained_part(model.params), config.param_dtype)
    state = initial_state(params, optimizer, config.seed, model.decoder.mesh)
    fresh = Checkpoint(state, Progress(0, 0, 0), reference.moving if config.sync_ref_model else None)
    newest = checkpointer.latest() if folder.continues else None
    found = fresh if newest is None else _newest(plan, newest, fresh, folder, checkpointer)
    if is_first():
        start = int(found.state.step)
        rewind(folder.path, start if start else -1)  # a run that starts evaluates and answers at step 0 again
        for note in (length_note(plan, start), plan.same_run.other_libraries() if start and plan.same_run else ""):
            if note:
                plan.display.say(note)
    agreed(True)  # the others read what is left
    return found


def _newest(plan: RunPlan, newest: int, fresh: Checkpoint, folder: RunFolder, checkpointer: Checkpointer) -> Checkpoint:
    """Returns the newest checkpoint."""
    saved = checkpointer.restore(newest, abstract_checkpoint(fresh))
    _require_same_as_version_1(plan, saved.progress, folder)
    if fresh.reference is not None:
        plan.reference.move_to(saved.reference)
    return saved


def _require_same_as_version_1(plan: RunPlan, saved: Progress, folder: RunFolder) -> None:
    """Raises ConfigError where a checkpoint has fingerprints, as those of versions 0 and 1 do, and one differs."""
    if not saved.data:
        return
    reference = plan.reference
    fixed = reference.params if reference.sync_steps is None else None  # None after `release` too
    compared = {
        "training pairs": (saved.data, pairs_fingerprint(plan.data.first_pairs)),
        "reference weights": (saved.reference, two_vectors_fingerprint(fixed)),
        "frozen weights": (saved.frozen, two_vectors_fingerprint(plan.frozen)),
    }
    for name, (then, now) in compared.items():
        if then and now and then != now:
            raise ConfigError(SameRun.refusal(folder.path, {name: (then, now)}))


def length_note(plan: RunPlan, done: int) -> str:
    """Returns what it means that a run to be continued is longer or shorter now than it was to be; "" where it is not.

    Args:
        done: its steps so far.
    """
    then, config = {} if plan.same_run is None else plan.same_run.settings, plan.config
    changed = {name: then[name] for name in _LENGTHS if name in then and then[name] != getattr(config, name)}
    per_epoch = plan.data.loader.steps_per_epoch
    if not done or not changed or (per_epoch is None and then["max_training_steps"] is None):
        return ""
    before = replace(config, **changed)
    steps, planned = plan.data.intervals.total_steps, total_steps(before, per_epoch)
    if steps == planned:
        return ""
    now = ", ".join(f"{name} was {value}, is {getattr(config, name)} now" for name, value in changed.items())
    said = f"The run has {steps} steps in place of {planned} ({now})."
    if not depends_on_length(config) or done >= steps:
        return said
    rates = _rate(before, planned, per_epoch, done), _rate(config, steps, per_epoch, done)
    return (
        f"{said} scheduler {config.scheduler!r} depends on how many: the learning rate of step {done + 1} is "
        f"{rates[1]:.3g}, and was to be {rates[0]:.3g}; that of the steps before stays what it was."
    )


def _rate(config: DPOConfig, steps: int, per_epoch: int | None, done: int) -> float:
    return float(jnp.asarray(schedule_of(config, resolve_intervals(config, steps, per_epoch))(done)))
