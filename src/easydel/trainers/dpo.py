"""`DPOTrainer`: the part with a lifetime. It prepares once, then turns batches into steps until the run is done."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from easydel.data.loader import Loader, Position, make_loader, prefetch
from easydel.data.prepare import Prepared, prepare
from easydel.errors import ConfigError, DataError
from easydel.losses import looks_across_pairs, select_loss
from easydel.models.causal_lm import CausalLM
from easydel.sharding import row_shards
from easydel.trainers.checkpoint import Checkpointer, Saved
from easydel.trainers.config import DPOConfig
from easydel.trainers.evaluation import evaluate
from easydel.trainers.flops import peak_flops, peak_memory, step_flops
from easydel.trainers.log import MetricsLog, read_metrics, rewind
from easydel.trainers.metrics import Window, unshared_tokens
from easydel.trainers.optimizer import updates_done
from easydel.trainers.reference import Reference
from easydel.trainers.report import write_report
from easydel.trainers.run_folder import RunFolder, append_samples, open_run_folder, read_samples
from easydel.trainers.samples import answer_prompts, side_by_side
from easydel.trainers.setup import (
    cast,
    check_evaluation,
    check_memory,
    check_models,
    check_run,
    check_tokenizer,
    on_mesh,
)
from easydel.trainers.start import optimizer_of, schedule_of, starting_point
from easydel.trainers.step import Objective, TrainStep, make_evaluation_step, make_logprobs, make_train_step

Rows = Iterable[Mapping[str, Any]]


class TrainResult(NamedTuple):
    """What a run leaves in memory; the rest is in its folder."""

    model: CausalLM
    metrics: dict[str, float]  # of the last logged step and the last evaluation
    checkpoint_path: Path | None  # of the newest checkpoint


class DPOTrainer:
    """Tunes a language model on pairs of answers, one preferred, with DPO or one of its relatives.

    Everything that can be wrong with settings, rows and models is found here, before anything is compiled.

    Args:
        arguments: every setting of the run.
        model: the policy. It is left as it is; the trained one is `train().model`, and `trainer.model`.
        reference_model: what the policy is compared with; None takes the policy as it starts.
        processing_class: the Hugging Face tokenizer; not needed for rows that are token ids already.
        train_dataset: rows with `prompt`, `chosen`, `rejected`; a list, a `datasets.Dataset`, or any iterable.
        eval_dataset: held-out rows of the same form.

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
        eval_dataset: Rows | None = None,
    ) -> None:
        if train_dataset is None and eval_dataset is None:
            raise ConfigError("there is nothing to train on: give train_dataset=, rows with prompt, chosen, rejected.")
        check_evaluation(arguments, has_rows=eval_dataset is not None, has_tokenizer=processing_class is not None)
        self.arguments = arguments
        self.model = model
        self.processing_class = processing_class
        check_models(arguments, model, reference_model)
        check_tokenizer(processing_class, model.config)
        self.train_data = None if train_dataset is None else self._prepare(train_dataset, "train_dataset")
        self.eval_data = None if eval_dataset is None else self._prepare(eval_dataset, "eval_dataset")
        self._loader = None
        if self.train_data is not None:
            size, parts = arguments.total_batch_size, arguments.gradient_accumulation_steps
            shuffle = arguments.shuffle_train_dataset
            self._loader = self._make_loader(self.train_data, size, parts, shuffle=shuffle)
        self._chunk = 1024 if jax.default_backend() == "cpu" else 4096  # hidden states that meet the head at a time
        self._eval_loader = None if self.eval_data is None else self._make_eval_loader(self.eval_data)
        if self._loader is not None:
            check_run(arguments, model, self._loader, self.total_steps)
            check_memory(arguments, model, self._loader.plan, head_chunk=self._chunk)
        self._make_steps(reference_model)

    def train(self) -> TrainResult:
        """Trains to the end of the last epoch, or `max_training_steps`, and returns the trained model.

        Writes the run folder as it goes: `config.yaml`, `metrics.jsonl`, `checkpoints/`, `report.html`, `model/`.
        """
        loader, data = self._loader, self.train_data
        if loader is None or data is None:
            raise ConfigError("train() needs train_dataset=; only an eval_dataset was given.")
        config, folder = self.arguments, open_run_folder(self.arguments)
        with Checkpointer(folder.checkpoints, keep=config.save_total_limit) as checkpointer:
            schedule = schedule_of(config, self.total_steps)
            optimizer = optimizer_of(config, schedule, self.model)
            saved = starting_point(
                config, self.model, optimizer, self.reference, data.pairs, folder, checkpointer, self.total_steps
            )
            step = make_train_step(
                self._logprobs, self._objective, optimizer, saved.state, dropout=not config.disable_dropout
            )
            done = int(saved.state.step)
            rewind(folder.path, done if done else -1)  # a run that starts looks at step 0 anew
            wandb_config = config.to_dict() if config.use_wandb else None
            with MetricsLog(
                folder.path,
                config.model_name,
                total=self.total_steps,
                done=done,
                show=config.progress_bar,
                wandb_config=wandb_config,
            ) as log:
                self._greet(log, folder, data, done)
                metrics = self._run(step, schedule, saved, loader, folder.path, checkpointer, log)
            checkpointer.wait()
            newest = checkpointer.latest()
            path = None if newest is None else checkpointer.path(newest)
        self._write_report(folder.path)
        if config.do_last_save:
            self.save_pretrained(folder.path / "model")
        return TrainResult(self.model, metrics, path)

    def evaluate(self, dataset: Rows | None = None) -> dict[str, float]:
        """Returns the `eval_*` metrics of the current model, each a mean over all pairs (or tokens), not over batches.

        Args:
            dataset: rows to evaluate on; None takes `eval_dataset`.
        """
        loader = self._eval_loader
        if dataset is not None:
            loader = self._make_eval_loader(self._prepare(dataset, "dataset"))
        if loader is None:
            raise ConfigError("evaluate() needs rows: give it a dataset, or the trainer an eval_dataset=.")
        return self._evaluate(loader, self.model.params)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes the current model and the tokenizer as a Hugging Face folder, which appears when it is complete."""
        tokenizer = self.processing_class
        also = None if tokenizer is None else lambda target: tokenizer.save_pretrained(str(target))
        self.model.save_pretrained(folder, also=also)

    @property
    def total_steps(self) -> int:
        """Optimizer updates of the whole run."""
        if self._loader is None:
            raise ConfigError("there are no steps without a train_dataset=.")
        steps = self.arguments.num_train_epochs * self._loader.steps_per_epoch
        return min(steps, self.arguments.max_training_steps or steps)

    def _prepare(self, rows: Rows, name: str) -> Prepared:
        config = self.arguments
        try:
            return prepare(
                rows,
                self.processing_class,
                max_length=config.max_length,
                max_prompt_length=config.max_prompt_length,
                max_completion_length=config.max_completion_length,
                truncation_mode=config.truncation_mode,
                vocab_size=self.model.config.vocab_size,
            )
        except DataError as error:
            raise DataError(f"{name}: {error}") from error

    def _make_loader(self, data: Prepared, batch_size: int, parts: int = 1, *, shuffle: bool = False) -> Loader:
        return make_loader(
            data.pairs,
            total_batch_size=batch_size,
            gradient_accumulation_steps=parts,
            seed=self.arguments.seed,
            shuffle=shuffle,
            shards=row_shards(self.model.decoder.mesh),
            # On a dense mask, attention adds 1 / (6 embed) of the blocks' cost per token of the row.
            length_cost=1 / (6 * self.model.config.hidden_size),
        )

    def _make_eval_loader(self, data: Prepared) -> Loader:
        config = self.arguments
        parts = config.total_batch_size // config.gradient_accumulation_steps
        return self._make_loader(data, config.eval_batch_size or parts)

    def _make_steps(self, reference_model: CausalLM | None) -> None:
        """Makes the step functions; XLA compiles each when it meets a new batch shape."""
        config = self.arguments
        options = {name: getattr(config, name) for name in ("beta", "label_smoothing", "discopop_tau")}
        loss = select_loss(config.loss_type, **options)
        self._objective = Objective(loss, looks_across_pairs(config.loss_type), config.beta)
        self._logprobs = make_logprobs(self.model.decoder, chunk=self._chunk, logit_metrics=config.log_logit_metrics)
        self._evaluation_step = make_evaluation_step(self._logprobs, self._objective)
        source, params = self.model, cast(self.model.params, config.param_dtype)  # what the policy is trained from
        if reference_model is not None:
            source, params = reference_model, reference_model.params
        self.reference = Reference(
            None if config.reference_free else source.decoder,
            None if config.reference_free else params,
            chunk=self._chunk,
            sync_steps=config.ref_model_sync_steps if config.sync_ref_model else None,
            mixup_alpha=config.ref_model_mixup_alpha,
        )

    def _run(
        self,
        train_step: TrainStep,
        schedule: optax.Schedule,
        saved: Saved,
        loader: Loader,
        folder: Path,
        checkpointer: Checkpointer,
        log: MetricsLog,
    ) -> dict[str, float]:
        """Trains from `saved` to the last step, leaves the trained model in `self.model`, returns the last metrics."""
        config, mesh, total = self.arguments, self.model.decoder.mesh, self.total_steps
        state, progress = saved.state, saved.progress
        step = int(state.step)
        last = {name: value for entry in read_metrics(folder) for name, value in entry.items() if name != "step"}
        if step == 0:
            last |= self._look(state.params, step, folder, log)
        window = Window()
        batches = loader.batches(Position(progress.epoch, progress.batch), epochs=config.num_train_epochs)
        with prefetch(batches) as ahead:
            while step < total:
                position, batch = next(ahead)
                on_device = on_mesh(batch, mesh)
                state, sums = train_step(state, on_device, self.reference.logprobs(on_device))
                step += 1
                self.reference.after_step(step, state.params)
                flops = step_flops(self.model.config, batch, with_reference=not config.reference_free)
                window.add(batch, sums, flops)
                progress = progress._replace(
                    epoch=position.epoch,
                    batch=position.batch,
                    num_tokens=progress.num_tokens + unshared_tokens(batch),
                )
                log.advance()
                if step % config.log_steps == 0 or step == total:
                    rate = float(jnp.asarray(schedule(max(updates_done(state.opt_state) - 1, 0))))
                    metrics = self._summed_up(window) | {
                        "learning_rate": rate,
                        "epoch": step / loader.steps_per_epoch,
                        "num_tokens": progress.num_tokens,
                    }
                    log.write(step, metrics)
                    last |= metrics
                    window = Window()
                if step == total or _is_due(step, config.evaluation_steps):
                    window.pause()
                    last |= self._look(state.params, step, folder, log)
                    window.resume()
                if step == total or _is_due(step, config.save_steps):
                    moving = self.reference.params if config.sync_ref_model else None
                    checkpointer.save(Saved(state, progress, moving))
        self.model = dataclasses.replace(self.model, params=state.params)
        return last

    def _summed_up(self, window: Window) -> dict[str, float]:
        devices = list(self.model.decoder.mesh.devices.flat)
        logit_metrics = self.arguments.log_logit_metrics
        return window.metrics(logit_metrics=logit_metrics, peak_flops=peak_flops(devices)) | {
            "memory": peak_memory(devices)
        }

    def _look(self, params: Any, step: int, folder: Path, log: MetricsLog) -> dict[str, float]:
        """Evaluates on the held-out rows, before the first step, when due and after the last, and logs the result."""
        config = self.arguments
        if self._eval_loader is None:
            return {}
        metrics = self._evaluate(self._eval_loader, params)
        log.write(step, metrics)
        if config.generation_prompts and step in (0, self.total_steps):
            pairs = self._eval_loader.pairs
            apart = max(len(pairs) // config.generation_prompts, 1)  # neighbours in a file are often alike
            answers = answer_prompts(
                dataclasses.replace(self.model, params=params),
                self.processing_class,
                pairs[::apart][: config.generation_prompts],
                step=step,
                max_new_tokens=config.generation_max_new_tokens,
            )
            append_samples(folder, answers)
            if step == self.total_steps:
                log.say(side_by_side(read_samples(folder)))
        return metrics

    def _evaluate(self, loader: Loader, params: Any) -> dict[str, float]:
        return evaluate(
            self._evaluation_step,
            self._objective,
            params,
            self.reference,
            loader,
            most_batches=self.arguments.max_evaluation_steps,
            logit_metrics=self.arguments.log_logit_metrics,
            mesh=self.model.decoder.mesh,
        )

    def _greet(self, log: MetricsLog, folder: RunFolder, data: Prepared, done: int) -> None:
        """Says what is about to happen: the data as it was read, the steps, where the results will be."""
        config = self.arguments
        weights = sum(x.size for x in jax.tree.leaves(self.model.params))
        log.say(f"{config.model_name}: {self.model.config.model_type} with {weights:,} weights, {config.loss_type}")
        log.say(f"train: {data.counts.summary()}")
        if self.eval_data is not None:
            log.say(f"held out: {self.eval_data.counts.summary()}")
        if folder.moved is not None:
            log.say(f"An earlier run in {folder.path} was moved to {folder.moved}.")
        if config.resume == "auto" and not done:
            log.say(
                "There is no checkpoint to continue from, so the run starts at its beginning; save_steps makes some."
            )
        start = f"continuing after step {done} of" if done else "training for"
        log.say(f"{start} {self.total_steps} steps of {config.total_batch_size} pairs, in {folder.path}")

    def _write_report(self, folder: Path) -> None:
        facts = {"Model": self.model.origin.name, "Steps": str(self.total_steps)}
        for name, data in (("Training rows", self.train_data), ("Held-out rows", self.eval_data)):
            if data is not None:
                facts[name] = data.counts.summary()
        write_report(folder, self.arguments.model_name, self.arguments.to_dict(), facts)


def _is_due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
