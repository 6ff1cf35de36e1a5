"""What a run is going to do: settings, rows and models made ready, and checked, before anything is compiled."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from jaxtyping import PyTree

from easydel.display.display import Display
from easydel.errors import ConfigError
from easydel.memory import available_bytes
from easydel.models.causal_lm import CausalLM
from easydel.models.decoder import without_own_dropout
from easydel.trainers.chat_template_date import with_chat_template_date
from easydel.trainers.checks import check_evaluation, check_models, check_run, check_stop_on, check_tokenizer
from easydel.trainers.completion_ends import count_completion_ends, warn_of_completion_ends, with_trained_ends
from easydel.trainers.config import DPOConfig
from easydel.trainers.dataset_summary import DatasetSummary
from easydel.trainers.datasets import EvalSet, Rows, TrainSet, limits_of, make_eval_sets, make_train_set, named_sets
from easydel.trainers.early_stopping import BestMetric, check_best_metric, make_best_metric
from easydel.trainers.evaluation import Evaluator
from easydel.trainers.extensions import (
    NOTHING,
    Extensions,
    check_extensions,
    facts_of_metrics,
    facts_of_updates,
)
from easydel.trainers.fingerprints import pairs_fingerprint
from easydel.trainers.head_plan import plan_head, plan_trained_head
from easydel.trainers.memory_estimate import check_memory
from easydel.trainers.metrics import metric_names
from easydel.trainers.objective import Objective, make_objective
from easydel.trainers.record.same_run import SameRun
from easydel.trainers.reference import Reference, make_reference
from easydel.trainers.run_facts import can_have, eval_facts, program_facts, weight_facts
from easydel.trainers.step_functions import Forward, make_evaluation_step
from easydel.trainers.train_state import TrainState
from easydel.trainers.trainable import Partition, make_partition, make_policy


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RunPlan:
    """What a run is going to do."""

    config: DPOConfig
    model: CausalLM  # the initial policy, which stops where the trained completions end
    tokenizer: Any  # None for rows that are token ids
    display: Display
    partition: Partition  # which weights are trained
    frozen: PyTree  # the others
    objective: Objective
    best_metric: BestMetric | None
    train_set: TrainSet | None
    eval_sets: Mapping[str, EvalSet]  # by how the names of their metrics begin
    forward: Forward
    reference: Reference
    evaluator: Evaluator
    extensions: Extensions
    same_run: SameRun | None  # what decides the numbers of training; None for evaluation alone
    needed_memory: Mapping[str, int]  # bytes of training by purpose
    available_memory: int | None  # bytes; None where it is not known

    @property
    def data(self) -> TrainSet:
        """What is trained on.

        Raises:
            ConfigError: there is nothing to train on.
        """
        if self.train_set is None:
            raise ConfigError("training needs train_dataset=; only an eval_dataset was given.")
        return self.train_set

    def summaries(self) -> dict[str, DatasetSummary]:
        """Returns what became of the rows, of a stream as far as they were read: of `train`, `eval`, `eval_<name>`."""
        trained = {} if self.train_set is None else {"train": self.train_set.summarize()}
        return trained | {name: each.summary for name, each in self.eval_sets.items()}

    def combine(self, trained: PyTree) -> PyTree:
        """Returns all weights of the policy from those that are trained."""
        return self.partition.combine(trained, self.frozen)

    def evaluate(self, state: TrainState) -> dict[str, float]:
        """Returns the metrics of a training state on every eval set, by their names in `metrics.jsonl`."""
        shift = state.rewards.mean if self.config.bco_running_mean else 0.0
        params = self.partition.beside(state.params, self.frozen)
        found = self.evaluator.metrics(self.eval_sets, params, shift)
        check_best_metric(self.best_metric, list(found))
        return found


def plan_run(
    config: DPOConfig,
    model: CausalLM,
    reference_model: CausalLM | None,
    tokenizer: Any,
    train_dataset: Rows | None,
    eval_dataset: Rows | Mapping[str, Rows] | None,
    display: Display,
    extensions: Extensions = NOTHING,
) -> RunPlan:
    """Returns the plan of a run; see `DPOTrainer`.

    Raises:
        ConfigError: settings that cannot work with this model.
        DataError: rows that cannot be trained on, with the number of the row and the field.
    """
    check_extensions(config, extensions)
    same_run = None
    if train_dataset is not None:
        same_run = SameRun(config)
        same_run.add(facts_of_updates(extensions))
        same_run.add(facts_of_metrics(extensions), decides=config.best_metric is not None)
        same_run.add(program_facts(config, model, reference_model), can_be=partial(can_have, model.decoder))
    check_evaluation(config, has_rows=eval_dataset is not None, has_tokenizer=tokenizer is not None)
    config = with_chat_template_date(config, tokenizer)
    model = make_policy(config, model)
    check_models(config, model, reference_model)
    has_rows = eval_dataset is not None or config.test_split_size is not None
    check_stop_on(config, has_rows=has_rows, has_adapters=model.lora is not None)
    partition = make_partition(config, model)
    frozen = partition.frozen_part(model.params)
    if same_run is not None:
        same_run.add(weight_facts(config, model, reference_model, partition, frozen))
    check_tokenizer(tokenizer, model.config)
    objective = make_objective(config, model.config.experts)
    best_metric = make_best_metric(config)
    if has_rows:
        kinds = metric_names(logit_metrics=config.log_logit_metrics, auxiliary=objective.balance is not None)
        sets = named_sets(() if eval_dataset is None else eval_dataset, "eval_dataset", config.columns)
        if extensions.compute_metrics is None:  # else it is known after the first evaluation
            check_best_metric(best_metric, [f"{name}_{kind}" for name in sets for kind in kinds])
    eval_sets: Mapping[str, EvalSet] = {}
    if eval_dataset is not None:
        eval_sets = make_eval_sets(config, eval_dataset, "eval_dataset", tokenizer, model, display)
    head, train_set, needed, available = plan_head(model.decoder.mesh), None, {}, None
    if train_dataset is not None:
        train_set = make_train_set(config, train_dataset, tokenizer, model, display)
        if train_set.eval_set is not None:
            eval_sets = {"eval": train_set.eval_set}
        if same_run is not None:
            same_run.add({"training pairs": pairs_fingerprint(train_set.first_pairs)})
            same_run.add(eval_facts(config, eval_sets), decides=best_metric is not None)
            same_run.require_not_past(train_set.intervals.total_steps)
        check_run(config, model, train_set)
        model = _with_trained_ends(config, model, tokenizer, train_set, eval_sets)
        head = plan_trained_head(objective, model.decoder, train_set.loader)
        available = available_bytes(list(model.decoder.mesh.devices.flat))
        needed = check_memory(
            config,
            model,
            train_set.loader.layout.plan,
            head=head,
            reference=reference_model,
            partition=partition,
            own=extensions.optimizer,
        )
    forward = Forward(
        without_own_dropout(model.decoder) if config.disable_dropout else model.decoder,
        chunk=head.chunk,
        logit_metrics=config.log_logit_metrics,
        collision=config.use_weighting,
        ld_alpha=config.ld_alpha,
        routing=objective.balance is not None,
        longest=head.longest,
    )
    reference = make_reference(
        config, model, reference_model, chunk=head.chunk, partition=partition, frozen=frozen, display=display
    )
    return RunPlan(
        config=config,
        model=model,
        tokenizer=tokenizer,
        display=display,
        partition=partition,
        frozen=frozen,
        objective=objective,
        best_metric=best_metric,
        train_set=train_set,
        eval_sets=eval_sets,
        forward=forward,
        reference=reference,
        evaluator=Evaluator(
            step=make_evaluation_step(forward, beta=config.beta),
            objective=objective,
            reference=reference,
            config=config,
            mesh=model.decoder.mesh,
            display=display,
            extensions=extensions,
        ),
        extensions=extensions,
        same_run=same_run,
        needed_memory=needed,
        available_memory=available,
    )


def _with_trained_ends(
    config: DPOConfig, model: CausalLM, tokenizer: Any, train_set: TrainSet, eval_sets: Mapping[str, EvalSet]
) -> CausalLM:
    """Returns the model, which stops where the trained completions end; warns of completions that end otherwise."""
    sets = [*eval_sets.values(), train_set]
    ends = [count_completion_ends(each.loader.pairs, tokenizer, model, limits_of(config)) for each in sets]
    for each, found in zip(sets, ends, strict=True):
        warn_of_completion_ends(found, tokenizer, model, name=each.name)
    return with_trained_ends(model, ends[-1], tokenizer)
