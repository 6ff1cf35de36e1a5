"""`DPOTrainer`: checks and prepares a run, trains, and says what came of it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import optax

from easydel.data.counts import Counts
from easydel.display.display import make_display
from easydel.errors import ConfigError
from easydel.losses import Scalar
from easydel.models.causal_lm import CausalLM
from easydel.processes import by_first, is_first
from easydel.trainers.checkpoint_model import write_record
from easydel.trainers.checks import check_loaded, warn_of_no_eval_rows
from easydel.trainers.config import DPOConfig
from easydel.trainers.dataset_summary import write_data
from easydel.trainers.datasets import Rows, make_eval_sets
from easydel.trainers.end_summary import closing_values, facts_of, summary, write_run_report
from easydel.trainers.extensions import Extensions, Metrics, PairValues
from easydel.trainers.hub import open_repository, requested_repository, upload
from easydel.trainers.loop_context import LoopResult
from easydel.trainers.model_export import export_model
from easydel.trainers.options.other_programs import explains_trl_names
from easydel.trainers.record.checkpoint import Checkpointer
from easydel.trainers.record.run_folder import RunFolder, check_apart, hold, open_together
from easydel.trainers.record.unwritten import keep, named_at_the_end, unwritten
from easydel.trainers.run_plan import plan_run
from easydel.trainers.signals import listen
from easydel.trainers.training import prepare_reference, run_training


class TrainResult(NamedTuple):
    """What a run leaves in memory; the rest is in its folder."""

    model: CausalLM
    metrics: dict[str, float]  # of the last logged step and the last evaluation
    checkpoint_path: Path | None  # of the newest checkpoint
    best_step: int | None = None  # of the evaluation at which `best_metric` was best
    best_metric: float | None = None  # its value there
    summary: str = ""  # what was done, how it went and where things are, for people
    steps: int = 0  # of the whole run
    skipped_steps: int = 0  # those of them whose loss or gradient was not finite
    not_written: Mapping[str, str] = {}  # why, by file, tracker or stream; `hub` is the upload


class DPOTrainer:
    """Tunes a language model on pairs of completions, one preferred, with DPO or one of its relatives.

    Everything that can be wrong with settings, rows and models is found here, before anything is compiled.

    Args:
        arguments: every setting of the run.
        model: the policy. It is left as it is; the trained one is `train().model`, and `trainer.model`.
        reference_model: what the policy is compared with; None takes the initial policy.
        processing_class: the Hugging Face tokenizer; not needed for rows that are token ids already.
        train_dataset: rows with `prompt`, `chosen`, `rejected`; a list, a `datasets.Dataset`, or any iterable, which is
            read as training goes where it has no length.
        eval_dataset: eval rows of the same form, or a dict of several such sets by name, whose metrics are then
            named `eval_<name>_*`.
        dataset_names: of the training data on the hub, for the model card.
        on_log, on_evaluate: called as `f(step, metrics)` with what was just logged, by its names in `metrics.jsonl`.
        on_save: called as `f(step, folder)` with a checkpoint that is complete, which the run waits for.
        on_end: called with the `TrainResult`, after everything is written.
        compute_metrics: called with the `extensions.PairValues` of each eval set; returns further metrics by name.
        optimizer: an optax transformation in place of the optimizer by name, with a learning rate of its own.
        schedule: the learning rate by updates done, in place of that by settings; beside `optimizer` what is logged.

    Every process of a run calls these functions. An error in one ends the run, after what was trained is saved.

    Raises:
        ConfigError: settings that cannot work with this model.
        DataError: rows that cannot be trained on, with the number of the row and the field.
    """

    @explains_trl_names
    def __init__(
        self,
        arguments: DPOConfig,
        model: CausalLM,
        reference_model: CausalLM | None = None,
        processing_class: Any = None,
        train_dataset: Rows | None = None,
        eval_dataset: Rows | Mapping[str, Rows] | None = None,
        *,
        dataset_names: Sequence[str] = (),
        on_log: Callable[[int, Metrics], Any] | None = None,
        on_evaluate: Callable[[int, Metrics], Any] | None = None,
        on_save: Callable[[int, Path], Any] | None = None,
        on_end: Callable[[TrainResult], Any] | None = None,
        compute_metrics: Callable[[PairValues], Metrics] | None = None,
        optimizer: optax.GradientTransformation | None = None,
        schedule: optax.Schedule | None = None,
    ) -> None:
        if train_dataset is None and eval_dataset is None:
            raise ConfigError("there is nothing to train on: give train_dataset=, rows with prompt, chosen, rejected.")
        check_loaded(model, reference_model)
        display = make_display(arguments.progress_bar_type if is_first() else "none")
        own = Extensions(on_log, on_evaluate, on_save, on_end, optimizer, schedule, compute_metrics)
        self._plan = plan_run(
            arguments, model, reference_model, processing_class, train_dataset, eval_dataset, display, own
        )
        self.arguments, self.model, self.processing_class = self._plan.config, self._plan.model, processing_class
        self.reference = self._plan.reference
        self._dataset_names = dataset_names
        self._run: Path | None = None  # the folder of the run, once there is one
        self._reward_shift: Scalar = 0.0

    def train(self) -> TrainResult:
        """Trains to the end of the last epoch, or `max_training_steps`, and returns the trained model.

        Writes the run folder as it goes: `config.yaml`, `data.json`, `metrics.jsonl`, `checkpoints/`, `run.json`,
        `report.html`, `model/`.

        What it says of itself and cannot be written (log, report, model card, a tracker) ends no run: it is in
        `not_written` of the result, and so is an upload that failed.

        Raises:
            Interrupted: SIGTERM, SIGINT, SIGHUP or the stop button of a notebook asked the run to end. It has finished
                its step and saved a checkpoint, with which `resume = "auto"` continues; a second SIGTERM or SIGINT does
                not wait for that, where a single process trains.
            ConfigError: there is nothing to train on, the run folder cannot be used or another run is under way there,
                or its checkpoint is of another run; too many steps in a row were skipped; the hub refused before it.
            DataError: a row of a stream that cannot be trained on; what was trained before it is saved, as before any
                other error of the loop, and a note on the error says so.
            OSError: a checkpoint or the model could not be written.
        """
        plan, data, config = self._plan, self._plan.data, self.arguments
        if not plan.eval_sets:
            warn_of_no_eval_rows(config)
        repository = requested_repository(config)
        tokenizer = getattr(self.processing_class, "name_or_path", "")
        check_apart(config, [("model", self.model.origin.name), ("processing_class", tokenizer)])
        with hold(config), named_at_the_end(plan.display):
            folder = open_together(config)
            self._run = folder.path
            if plan.same_run is not None:
                plan.same_run.write(continues=folder.continues)
            write_data(folder.path, plan.summaries())
            write_record(folder.path, plan.model, tokenizer)
            with listen(), Checkpointer(folder.checkpoints, keep=config.save_total_limit) as checkpointer:
                prepare_reference(plan, data)
                start, result = run_training(plan, data, folder, checkpointer)
                spare = checkpointer.spared(result.step) if config.do_last_save else nullcontext()
                with plan.display.work("save checkpoint", unit=""), spare:
                    checkpointer.wait()
                newest = checkpointer.latest()
                path = None if newest is None else folder.checkpoints / str(newest)  # as the user wrote it
            self.model = replace(self.model, params=plan.combine(result.state.params))
            self._reward_shift = result.state.rewards.mean if config.bco_running_mean else 0.0
            finished = self._finish(result, folder, path, start, repository)
        if plan.extensions.on_end is not None:
            plan.extensions.on_end(finished)
        return finished

    def evaluate(self, dataset: Rows | Mapping[str, Rows] | None = None) -> dict[str, float]:
        """Returns the `eval_*` metrics of the current model, each a mean over all pairs (or tokens), not over batches.

        `eval_batch_size` and `max_evaluation_steps` hold here too.

        Args:
            dataset: rows to evaluate on, or a dict of several sets by name; None takes `eval_dataset`.

        Raises:
            ConfigError: there are no rows, or the reference's log-probabilities of some are not known any more.
            DataError: rows that cannot be evaluated on, with the number of the row and the field.
        """
        plan, sets = self._plan, self._plan.eval_sets
        if dataset is not None:
            sets = make_eval_sets(self.arguments, dataset, "dataset", self.processing_class, self.model, plan.display)
        if not sets:
            raise ConfigError("evaluate() needs rows: give it a dataset, or the trainer an eval_dataset=.")
        plan.evaluator.prepare(sets)
        return plan.evaluator.metrics(sets, self.model.params, self._reward_shift)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes the current model, the tokenizer and a model card as a Hugging Face folder, once it is complete.

        Adapters are written alone, as PEFT does, or added to the weights with `merge_lora_before_save`.

        Raises:
            OSError: the folder cannot be written.
        """
        self._export(Path(folder))

    def push_to_hub(self, name: str | None = None, *, private: bool | None = None, token: str | None = None) -> str:
        """Uploads the current model, the tokenizer and a model card, and returns the address of the repository.

        They are written to `model/` of the run folder first.

        Args:
            name: of the repository, such as `me/tuned`; None takes `hub_model_id`, or `model_name`.
            private: of a new repository; None takes `hub_private_repo`.
            token: None takes that of `hf auth login` or HF_TOKEN.

        Raises:
            ConfigError: the hub refused, or cannot be reached; a run is under way in the folder.
        """
        config, folder = self.arguments, self.arguments.run_folder / "model"
        given = name or config.hub_model_id or config.model_name
        private = config.hub_private_repo if private is None else private
        repository = open_repository(given, private=private, token=token)
        with hold(config):
            self._export(folder, place=repository)
            return upload(folder, repository, token=token)

    @property
    def total_steps(self) -> int:
        """Optimizer updates of the whole run.

        Raises:
            ConfigError: there is nothing to train on.
        """
        return self._plan.data.intervals.total_steps

    @property
    def counts(self) -> dict[str, Counts]:
        """What became of the rows, those of a stream as far as they were read: of `train`, `eval`, `eval_<name>`."""
        return {name: summary.counts for name, summary in self._plan.summaries().items()}

    def _finish(
        self, result: LoopResult, folder: RunFolder, checkpoint: Path | None, start: int, repository: str | None
    ) -> TrainResult:
        """Writes the report and the model, uploads it where it is to go, and says what came out."""
        plan, config, metrics, total_steps = self._plan, self.arguments, result.metrics, self.total_steps
        write_data(folder.path, plan.summaries())  # again, as a stream was read only now
        facts = facts_of(result, plan.best_metric, folder.path, start=start, total_steps=total_steps)
        places: dict[str, Path | str | None] = {
            "report": write_run_report(folder.path, self.model, facts),
            "checkpoint": checkpoint,
        }
        if config.do_last_save:
            places["model"] = folder.path / "model"
            try:
                facts["saved in"] = self._export(folder.path / "model", place=repository or "")
            except OSError as error:
                hint = f" Its weights are in {checkpoint}: resume = 'auto' (--resume auto) writes it."
                raise OSError(f"{error}{hint if checkpoint else ''}") from error
        if config.push_to_hub:  # all wait: an upload may take longer than processes wait for one that is leaving
            try:
                places["hub"] = by_first(lambda: upload(folder.path / "model", repository or ""))
            except ConfigError as error:
                keep("hub", str(error))
        text = summary(metrics, facts, self.counts, places)
        values = closing_values(result, self.counts, places, total_steps=total_steps)
        plan.display.event("end", values, f"\n{text}")
        best = result.best
        step, value = (None, None) if best is None or best.step is None else (best.step, best.value)
        return TrainResult(self.model, metrics, checkpoint, step, value, text, result.step, result.skipped, unwritten())

    def _export(self, folder: Path, *, place: str = "") -> str:
        names, run = self._dataset_names, self._run
        return export_model(
            self.model, self.processing_class, self.arguments, folder, run=run, dataset_names=names, place=place
        )
