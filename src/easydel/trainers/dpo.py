"""`DPOTrainer`: the part with a lifetime. It checks and prepares everything, then hands over to the loop."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import optax
from jaxtyping import PyTree

from easydel.data.counts import Counts
from easydel.data.loader import Loader, Position
from easydel.data.stream import StreamLoader
from easydel.display.display import SILENT, make_display
from easydel.errors import ConfigError, Interrupted
from easydel.losses import Scalar
from easydel.memory import available_bytes
from easydel.models.causal_lm import CausalLM
from easydel.models.decoder import without_own_dropout
from easydel.processes import agreed, by_first, is_first
from easydel.trainers.best import check_goal, goal_of
from easydel.trainers.checkpoint import Checkpointer, Saved
from easydel.trainers.compile_ahead import compile_training
from easydel.trainers.config import DPOConfig
from easydel.trainers.datasets import (
    PairSet,
    Rows,
    TrainSet,
    evaluation_sets,
    limits_of,
    named_sets,
    total_steps,
    training_set,
    with_day,
)
from easydel.trainers.endings import check_endings, endings_of, with_trained_ends
from easydel.trainers.evaluation import evaluate
from easydel.trainers.export import export, report, repository_of
from easydel.trainers.head import head_of, trained_head
from easydel.trainers.hub import open_repository, upload
from easydel.trainers.interrupt import listen
from easydel.trainers.log import rewind
from easydel.trainers.loop import Loop
from easydel.trainers.metrics import names
from easydel.trainers.needs import check_memory
from easydel.trainers.objective import make_objective
from easydel.trainers.opening import Opening, make_log
from easydel.trainers.pace import pace_of
from easydel.trainers.parts import Ending, Parts
from easydel.trainers.placement import placement
from easydel.trainers.profile import Profile
from easydel.trainers.rate import warn_of_rate
from easydel.trainers.reference import make_reference
from easydel.trainers.run_folder import RunFolder, check_apart, open_together
from easydel.trainers.samples import answer_prompts, prompts_of
from easydel.trainers.setup import (
    check_evaluation,
    check_loaded,
    check_models,
    check_run,
    check_tokenizer,
)
from easydel.trainers.shown import Shown, write_data
from easydel.trainers.split import policy_of, split_of, trained_share
from easydel.trainers.start import optimizer_of, schedule_of, starting_point
from easydel.trainers.state import TrainState
from easydel.trainers.step import Forward, make_evaluation_step, make_train_step
from easydel.trainers.summary import closing_values, facts_of, summary


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


class DPOTrainer:
    """Tunes a language model on pairs of answers, one preferred, with DPO or one of its relatives.

    Everything that can be wrong with settings, rows and models is found here, before anything is compiled.

    Args:
        arguments: every setting of the run.
        model: the policy. It is left as it is; the trained one is `train().model`, and `trainer.model`.
        reference_model: what the policy is compared with; None takes the policy as it starts.
        processing_class: the Hugging Face tokenizer; not needed for rows that are token ids already.
        train_dataset: rows with `prompt`, `chosen`, `rejected`; a list, a `datasets.Dataset`, or any iterable, which is
            read as training goes where it has no length.
        eval_dataset: held-out rows of the same form, or a dict of several such sets by name, whose metrics are then
            named `eval_<name>_*`.
        dataset_names: of the training data on the hub, for the model card.

    Raises:
        ConfigError: settings that cannot work with this model.
        DataError: rows that cannot be trained on, with the number of the row and the field.
    """

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
    ) -> None:
        if train_dataset is None and eval_dataset is None:
            raise ConfigError("there is nothing to train on: give train_dataset=, rows with prompt, chosen, rejected.")
        check_loaded(model, reference_model)
        self._display = make_display(arguments.progress_bar_type) if is_first() else SILENT
        check_evaluation(arguments, has_rows=eval_dataset is not None, has_tokenizer=processing_class is not None)
        self.arguments = arguments = with_day(arguments, processing_class)
        self.model = model = policy_of(arguments, model)
        self.processing_class = processing_class
        self._dataset_names = dataset_names
        self._run: Path | None = None  # the folder of the run, once there is one
        check_models(arguments, model, reference_model)
        self._split = split_of(arguments, model)
        self._frozen = self._split.frozen_part(model.params)
        check_tokenizer(processing_class, model.config)
        self._objective = make_objective(arguments, model.config.experts)
        self._goal = goal_of(arguments)
        self._train_set: TrainSet | None = None
        self._needs: dict[str, int] = {}  # bytes of training by purpose
        self._evaluation_sets: dict[str, PairSet] = {}
        if eval_dataset is not None or arguments.test_split_size is not None:
            auxiliary = self._objective.balance is not None
            kinds = names(logit_metrics=arguments.log_logit_metrics, auxiliary=auxiliary)
            sets = named_sets(() if eval_dataset is None else eval_dataset, "eval_dataset", arguments.columns)
            check_goal(self._goal, [f"{name}_{kind}" for name in sets for kind in kinds])
        if eval_dataset is not None:
            self._evaluation_sets = self._sets_of(eval_dataset, "eval_dataset")
        self._head = head_of(model.decoder.mesh)
        if train_dataset is not None:
            self._train_set = training_set(arguments, train_dataset, processing_class, model, self._display)
            if self._train_set.held_out is not None:
                self._evaluation_sets = {"eval": self._train_set.held_out}
            self._pace = pace_of(arguments, self.total_steps, self._train_set.loader.steps_per_epoch)
            warn_of_rate(arguments, self._pace)
            check_run(arguments, model, self._train_set.loader)
            self.model = model = self._stopping(self._train_set)
            self._head = trained_head(self._objective, model.decoder, self._train_set.loader)
            self._available_memory = available_bytes(list(model.decoder.mesh.devices.flat))
            self._needs = check_memory(
                arguments,
                model,
                self._train_set.loader.plan,
                head=self._head,
                reference=reference_model,
                split=self._split,
            )
        self._reward_shift: Scalar = 0.0
        self._make_steps(reference_model)

    def train(self) -> TrainResult:
        """Trains to the end of the last epoch, or `max_training_steps`, and returns the trained model.

        Writes the run folder as it goes: `config.yaml`, `data.json`, `metrics.jsonl`, `checkpoints/`, `run.json`,
        `report.html`, `model/`.

        Raises:
            Interrupted: SIGTERM, SIGINT or the stop button of a notebook asked the run to end. It has finished its step
                and saved a checkpoint, with which `resume = "auto"` continues; a second signal does not wait for that,
                where a single process trains.
        """
        data = self._trained_on()
        config, repository = self.arguments, repository_of(self.arguments)
        tokenizer = getattr(self.processing_class, "name_or_path", "")
        check_apart(config, [("model", self.model.origin.name), ("processing_class", tokenizer)])
        folder = open_together(config)
        self._run = folder.path
        write_data(folder.path, self._shown())
        with listen(), Checkpointer(folder.checkpoints, keep=config.save_total_limit) as checkpointer:
            if isinstance(data.loader, Loader):  # a stream whose rows would have to be known was refused
                self.reference.prepare(data.name, data.loader, most_batches=self.total_steps)
            self._prepare_reference(self._evaluation_sets)
            self.reference.release()
            start, ending = self._run_loop(data, folder, checkpointer)
            with self._display.work("save checkpoint", unit=""):
                checkpointer.wait()
            newest = checkpointer.latest()
            path = None if newest is None else folder.checkpoints / str(newest)  # as the user wrote it
        self.model = dataclasses.replace(self.model, params=self._joined(ending.state.params))
        self._reward_shift = ending.state.rewards.mean if config.bco_running_mean else 0.0
        return self._finish(ending, folder, path, start, repository)

    def evaluate(self, dataset: Rows | Mapping[str, Rows] | None = None) -> dict[str, float]:
        """Returns the `eval_*` metrics of the current model, each a mean over all pairs (or tokens), not over batches.

        `eval_batch_size` and `max_evaluation_steps` hold here too.

        Args:
            dataset: rows to evaluate on, or a dict of several sets by name; None takes `eval_dataset`.
        """
        sets = self._evaluation_sets if dataset is None else self._sets_of(dataset, "dataset")
        if not sets:
            raise ConfigError("evaluate() needs rows: give it a dataset, or the trainer an eval_dataset=.")
        self._prepare_reference(sets)
        return self._evaluate(sets, self.model.params, self._reward_shift)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes the current model, the tokenizer and a model card as a Hugging Face folder, once it is complete.

        Adapters are written alone, as PEFT does, or added to the weights with `merge_lora_before_save`.
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
            ConfigError: the hub refused, or cannot be reached.
        """
        config, folder = self.arguments, self.arguments.run_folder / "model"
        given = name or config.hub_model_id or config.model_name
        private = config.hub_private_repo if private is None else private
        repository = open_repository(given, private=private, token=token)
        self._export(folder, place=repository)
        return upload(folder, repository, token=token)

    @property
    def total_steps(self) -> int:
        """Optimizer updates of the whole run."""
        return total_steps(self.arguments, self._trained_on())

    @property
    def counts(self) -> dict[str, Counts]:
        """What became of the rows, those of a stream as far as they were read: of `train`, `eval`, `eval_<name>`."""
        return {name: shown.counts for name, shown in self._shown().items()}

    def _shown(self) -> dict[str, Shown]:
        trained = {} if self._train_set is None else {"train": self._train_set.shown()}
        return trained | {name: each.shown for name, each in self._evaluation_sets.items()}

    def _stopping(self, data: TrainSet) -> CausalLM:
        """Returns the model, which stops where training ends answers; warns of answers that end otherwise."""
        tokenizer, limits = self.processing_class, limits_of(self.arguments)
        for each in self._evaluation_sets.values():
            ended = endings_of(each.loader.pairs, tokenizer, self.model, limits)
            check_endings(ended, tokenizer, self.model, name=each.name, stacklevel=3)
        ended = endings_of(data.loader.pairs, tokenizer, self.model, limits)
        check_endings(ended, tokenizer, self.model, name=data.name, stacklevel=3)
        return with_trained_ends(self.model, ended, tokenizer, stacklevel=3)

    def _make_steps(self, reference_model: CausalLM | None) -> None:
        """Makes the step functions; XLA compiles each when it meets a new batch shape."""
        config = self.arguments
        self._forward = Forward(
            without_own_dropout(self.model.decoder) if config.disable_dropout else self.model.decoder,
            chunk=self._head.chunk,
            logit_metrics=config.log_logit_metrics,
            collision=config.use_weighting,
            ld_alpha=config.ld_alpha,
            routing=self._objective.balance is not None,
            longest=self._head.longest,
        )
        self._evaluation_step = make_evaluation_step(self._forward, beta=config.beta)
        self.reference = make_reference(
            config, self.model, reference_model, chunk=self._head.chunk, split=self._split, display=self._display
        )

    def _run_loop(self, data: TrainSet, folder: RunFolder, checkpointer: Checkpointer) -> tuple[int, Ending]:
        """Runs from the newest checkpoint, or the beginning; returns the step it started after, and what it left."""
        config = self.arguments
        schedule = schedule_of(config, self._pace)
        optimizer = optimizer_of(config, schedule, self.model, self._split)
        saved = self._saved(data, folder, checkpointer, optimizer)
        step = make_train_step(
            self._forward,
            self._objective,
            optimizer,
            saved.state,
            dropout=not config.disable_dropout or self.model.decoder.adapter_dropout > 0,
            split=self._split,
        )
        start = int(saved.state.step)
        opening = self._opening(data, folder, start)
        self._announce(opening, saved.state)
        place, steps = Position(saved.progress.epoch, saved.progress.batch), self.total_steps - start
        # One process of several is enough to see what a step does; two of one machine would write the same file.
        profile = Profile(folder.path / "profile", config.profile_steps if is_first() else None, ahead=steps)
        compiling = partial(compile_training, step, self.reference, saved.state, self._frozen)
        with (
            profile,
            compiling(data.loader, place, steps, self.model.decoder.mesh, self._display) as ahead,
            make_log(opening, self._display) as log,
        ):
            parts = Parts(
                config=config,
                model=self.model,
                train_step=step,
                frozen=self._frozen,
                trained_share=trained_share(self._split, self.model),
                compiling=ahead,
                schedule=schedule,
                reference=self.reference,
                data=data,
                pace=self._pace,
                evaluate=self._evaluate_state,
                evaluation_sets=tuple(self._evaluation_sets),
                answer=self._answer if config.generation_prompts else None,
                goal=self._goal,
                folder=folder.path,
                checkpointer=checkpointer,
                log=log,
                profile=profile,
            )
            try:
                return start, Loop(parts, saved).run()
            except (Interrupted, ConfigError):
                report(folder.path, self.model, {})  # how far it came, and what it looked like where steps were skipped
                raise

    def _saved(
        self, data: TrainSet, folder: RunFolder, checkpointer: Checkpointer, optimizer: optax.GradientTransformation
    ) -> Saved:
        """Returns what the run starts from; what was written of later steps is removed."""
        saved = starting_point(
            self.arguments,
            self.model,
            self._split,
            optimizer,
            self.reference,
            data.loader.pairs,
            folder,
            checkpointer,
            self.total_steps,
        )
        if is_first():
            start = int(saved.state.step)
            rewind(folder.path, start if start else -1)  # a run that starts looks at step 0 anew
        agreed(True)  # the others read what is left
        return saved

    def _announce(self, opening: Opening, state: TrainState) -> None:
        """Says what is trained, and on a mesh what lies on each device."""
        self._display.event("start", opening.values(), opening.text(), opening.marked())
        mesh = self.model.decoder.mesh
        if mesh.size > 1:
            held = {"weights": (state.params, self._frozen), "reference": self.reference.params}
            computed = {name: self._needs[name] for name in ("activations", "logits")}
            self._display.say(placement(mesh, {**held, "optimizer": state.opt_state}, computed))

    def _opening(self, data: TrainSet, folder: RunFolder, start: int) -> Opening:
        return Opening(
            config=self.arguments,
            model=self.model,
            split=self._split,
            data=self._shown(),
            folder=folder,
            streamed=isinstance(data.loader, StreamLoader),
            done=start,
            pace=self._pace,
            needed_memory=self._needs,
            available_memory=self._available_memory,
        )

    def _finish(
        self, ending: Ending, folder: RunFolder, checkpoint: Path | None, start: int, repository: str | None
    ) -> TrainResult:
        """Writes the report and the model, uploads it where it is to go, and says what came out."""
        config, metrics = self.arguments, ending.metrics
        write_data(folder.path, self._shown())  # again, as a stream was read only now
        facts = facts_of(ending, self._goal, folder.path, start=start, total_steps=self.total_steps)
        places: dict[str, Path | str | None] = {
            "report": report(folder.path, self.model, facts),
            "checkpoint": checkpoint,
        }
        if config.do_last_save:
            places["model"] = folder.path / "model"
            facts["saved in"] = self._export(folder.path / "model", place=repository or "")
        if config.push_to_hub:  # all wait: an upload may take longer than processes wait for one that is leaving
            places["hub"] = by_first(lambda: upload(folder.path / "model", repository or ""))
        text = summary(metrics, facts, self.counts, places)
        values = closing_values(ending, self.counts, places, total_steps=self.total_steps)
        self._display.event("end", values, f"\n{text}")
        best = ending.best
        step, value = (None, None) if best is None or best.step is None else (best.step, best.value)
        return TrainResult(self.model, metrics, checkpoint, step, value, text, ending.step, ending.skipped)

    def _export(self, folder: Path, *, place: str = "") -> str:
        names, run = self._dataset_names, self._run
        return export(
            self.model, self.processing_class, self.arguments, folder, run=run, dataset_names=names, place=place
        )

    def _trained_on(self) -> TrainSet:
        if self._train_set is None:
            raise ConfigError("training needs train_dataset=; only an eval_dataset was given.")
        return self._train_set

    def _sets_of(self, dataset: Rows | Mapping[str, Rows], argument: str) -> dict[str, PairSet]:
        return evaluation_sets(self.arguments, dataset, argument, self.processing_class, self.model, self._display)

    def _prepare_reference(self, sets: Mapping[str, PairSet]) -> None:
        for each in sets.values():
            self.reference.prepare(each.name, each.loader, most_batches=self.arguments.max_evaluation_steps)

    def _evaluate_state(self, state: TrainState) -> dict[str, float]:
        shift = state.rewards.mean if self.arguments.bco_running_mean else 0.0
        return self._evaluate(self._evaluation_sets, self._joined(state.params), shift)

    def _joined(self, trained: PyTree) -> PyTree:
        """Returns all weights of the policy from those that are trained."""
        return self._split.join(trained, self._frozen)

    def _evaluate(self, sets: Mapping[str, PairSet], params: PyTree, reward_shift: Scalar) -> dict[str, float]:
        found = {}
        for name, each in sets.items():
            metrics = evaluate(
                self._evaluation_step,
                self._objective,
                params,
                self.reference,
                each.loader,
                name=each.name,
                most_batches=self.arguments.max_evaluation_steps,
                logit_metrics=self.arguments.log_logit_metrics,
                mesh=self.model.decoder.mesh,
                reward_shift=reward_shift,
                display=self._display,
            )
            found |= {f"{name}_{metric}": value for metric, value in metrics.items()}
        return found

    def _answer(self, trained: PyTree, step: int) -> list[dict[str, Any]]:
        """Returns what the weights answer to the sample prompts, of the held-out pairs where there are any."""
        held_out = [pair for each in self._evaluation_sets.values() for pair in each.loader.pairs]
        config, pairs = self.arguments, held_out or self._trained_on().loader.pairs
        return answer_prompts(
            dataclasses.replace(self.model, params=self._joined(trained)),
            self.processing_class,
            prompts_of(pairs, config.generation_prompts),
            step=step,
            max_new_tokens=config.generation_max_new_tokens,
        )
