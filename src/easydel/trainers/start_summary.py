"""The summary of a run before its first step, for a program and for people, what lies on each device; and its log."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from easydel import processes
from easydel.display.formatting import size
from easydel.display.pairs import Piece, below_one_another
from easydel.memory import in_one_line
from easydel.models.causal_lm import CausalLM
from easydel.models.quantize import quantization_of
from easydel.models.rows import weight_rows
from easydel.sharding import length_shards, row_shards
from easydel.trainers.config import DPOConfig
from easydel.trainers.dataset_summary import DatasetSummary
from easydel.trainers.intervals import describe_intervals
from easydel.trainers.record.metrics_log import MetricsLog
from easydel.trainers.record.run_folder import RunFolder
from easydel.trainers.record.tracker import About
from easydel.trainers.record.trackers import Trackers
from easydel.trainers.report.run import title
from easydel.trainers.run_plan import RunPlan
from easydel.trainers.trainable import BUFFERS
from easydel.weights.table import Row

# What trackers get besides the settings.
_TRACKED_FACTS = ("model", "model_type", "parameters", "trained_parameters", "devices", "platform", "mesh")


@dataclass(frozen=True, kw_only=True)
class RunHeader:
    """What there is to know about a run that is about to start."""

    plan: RunPlan
    summaries: Mapping[str, DatasetSummary]  # what became of the rows of each dataset
    folder: RunFolder
    done: int  # steps of the run so far

    def values(self) -> dict[str, Any]:
        """Returns the event for a program, see docs/terminal.md."""
        plan, config, model, intervals = self.plan, self.plan.config, self.plan.model, self.plan.data.intervals
        mesh = model.decoder.mesh
        return {
            "run": config.model_name,
            "folder": self.folder.path.absolute(),
            "model": model.origin.name,
            "model_type": model.config.model_type,
            "parameters": self._parameters,
            "trained_parameters": self._trained,
            "loss": _losses(config),
            "devices": mesh.size,
            "platform": mesh.devices.flat[0].platform,
            "mesh": dict(mesh.shape),
            "memory_needed": dict(plan.needed_memory),
            "memory_available": plan.available_memory,
            "data": {name: shown.values() for name, shown in self.summaries.items()},
            "chat_template_date": config.chat_template_date,
            "pairs_per_step": config.total_batch_size,
            "step": self.done,
            "total_steps": intervals.total_steps,
            "pace": {name: steps for name, steps in intervals._asdict().items() if name != "total_steps"},
        }

    def text(self) -> str:
        """Returns the table for people: what is trained on what, how far, and where the results will be."""
        return "".join(piece.text for piece in self.marked())

    def marked(self) -> list[Piece]:
        """Returns the text with what each part of it is, which may be in color."""
        plan, config = self.plan, self.plan.config
        facts = {"run": f"{config.model_name}, in {self.folder.path}", "model": self._model()}
        facts |= {"trained": self._trained_words(), "loss": _losses(config), "devices": self._devices()}
        if plan.needed_memory:
            facts["memory"] = in_one_line(plan.needed_memory, plan.available_memory)
        data = [
            line
            for name, shown in self.summaries.items()
            for line in shown.lines(title(name), streamed=name == "train" and plan.data.is_stream)
        ]
        rest = {}
        if config.chat_template_date is not None:
            rest["chat template"] = f"writes {config.chat_template_date} as today's date"
        behind = f", {self.done} of them done" if self.done else ""
        rest["steps"] = f"{plan.data.intervals.total_steps} of {config.total_batch_size} pairs{behind}"
        lines = [*_lines(facts), *data, *_lines(rest)]
        return [*below_one_another(lines), *(Piece("text", f"\n{note}") for note in self._notes())]

    @property
    def _parameters(self) -> int:
        model = self.plan.model
        return _size_of(weight_rows(model.config), model) + _size_of(model.adapter_rows, model)

    @property
    def _trained(self) -> int:
        # Not made: what is frozen in part would be copied.
        trained = jax.eval_shape(lambda: self.plan.partition.trained_part(self.plan.model.params))
        return sum(array.size for array in jax.tree.leaves(trained))

    def _model(self) -> str:
        model = self.plan.model
        kept = quantization_of(model.params) or jax.tree.leaves(model.params)[0].dtype.name
        computed = jnp.dtype(model.decoder.dtype).name
        count = _size_of(weight_rows(model.config), model)
        words = f"{model.config.model_type}, {count:,} parameters in {kept}"
        words += "" if kept == computed else f", computed in {computed}"
        others = len(model.origin.carried.tensors)
        return f"{words}; {others:,} tensors that are not its text stay as they are" if others else words

    def _trained_words(self) -> str:
        if (lora := self.plan.model.lora) is not None:
            return f"adapters of rank {lora.rank}, {self._trained:,} parameters"
        share = self._trained / self._parameters
        if share == 1:
            return "all parameters"
        frozen = {path[-1] for path in self.plan.partition.frozen}
        if frozen <= {*BUFFERS}:
            return "all parameters but the correction biases of routers, to which no gradient comes"
        return f"{self._trained:,} parameters, {share:.1%} of them"

    def _devices(self) -> str:
        mesh = self.plan.model.decoder.mesh
        split = ", ".join(f"{axis} {length}" for axis, length in mesh.shape.items() if length > 1)
        kind = mesh.devices.flat[0].device_kind
        return f"{mesh.size} {kind}" + (f", split by {split}" if split else "")

    def _notes(self) -> list[str]:
        """What is not as it may have been meant."""
        config, data, notes = self.plan.config, self.plan.data, []
        if self.folder.moved is not None:
            notes.append(f"What was in {self.folder.path} was moved to {self.folder.moved}.")
        if config.resume == "auto" and not self.done:
            notes.append(
                "There is no checkpoint to continue from, so the run starts from the beginning. Set save_steps to "
                "write some."
            )
        asked = config.max_training_steps
        if not data.is_stream and asked is not None and data.intervals.total_steps < asked:
            many = config.num_train_epochs > 1
            ended = f"{config.num_train_epochs} epoch{'s' if many else ''} (num_train_epochs) end{'' if many else 's'}"
            notes.append(f"max_training_steps = {asked} is not reached: {ended} before.")
        notes += [words] if (words := describe_intervals(config, data.intervals)) else []
        return notes


def device_table(mesh: Mesh, trees: Mapping[str, Any], computed: Mapping[str, int]) -> str:
    """Returns the sizes of the mesh axes, and what each device holds, as a table.

    Args:
        trees: arrays that are held all along, by purpose; one that is in several trees counts in the first.
        computed: bytes that a step needs besides, by purpose, on all devices that share its rows together.
    """
    kind, several = mesh.devices.flat[0].platform, processes.count()
    of = f" of {several} processes" if several > 1 else ""
    share = row_shards(mesh) * length_shards(mesh)
    held, counted = {}, set()
    for name, tree in trees.items():
        arrays = {id(x): x for x in jax.tree.leaves(tree) if id(x) not in counted}
        counted |= arrays.keys()
        held[name] = bytes_on_each(list(arrays.values()))
    held |= {name: -(-count // share) for name, count in computed.items()}
    columns = [(axis, str(length), 6) for axis, length in mesh.shape.items()]
    columns += [(name, size(count), 13) for name, count in held.items() if count]
    heads = "".join(f"{head:>{wide}}" for head, _, wide in columns)
    values = "".join(f"{value:>{wide}}" for _, value, wide in columns)
    return f"{mesh.size} {kind} devices{of}, on each of them\n{heads}\n{values}"


def bytes_on_each(tree: Any) -> int:
    """Returns the bytes of a tree that lie on each device: a part of what is split, the whole of what is not."""
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def make_log(header: RunHeader) -> MetricsLog:
    """Returns where the metrics of a run go; of several processes only the first writes, shows and tracks them.

    Trackers start here, best while programs are compiled in the background.
    """
    config, folder, trackers = header.plan.config, header.folder.path, None
    if config.trackers and processes.is_first():
        facts = {name: value for name, value in header.values().items() if name in _TRACKED_FACTS}
        facts["data"] = {name: shown.counts.values() for name, shown in header.summaries.items()}  # no text of any row
        about = About(
            folder,
            config.model_name,
            config.to_dict() | facts,
            step=header.done,
            wandb_name=config.wandb_name,
            wandb_entity=config.wandb_entity,
        )
        trackers = Trackers(config.trackers, about, display=header.plan.display)
    return MetricsLog(
        folder,
        config.model_name,
        total=header.plan.data.intervals.total_steps,
        done=header.done,
        display=header.plan.display,
        trackers=trackers,
    )


def _size_of(rows: Sequence[Row], model: CausalLM) -> int:
    return sum(math.prod(row.shape(model.sizes)) for row in rows)


def _lines(facts: Mapping[str, str]) -> list[tuple[str, list[Piece]]]:
    return [(label, [Piece("text", text)]) for label, text in facts.items()]


def _losses(config: DPOConfig) -> str:
    names = config.to_dict()["loss_type"]
    weighted = zip([names] if isinstance(names, str) else names, config.losses, strict=False)
    return " + ".join(name if weight == 1 else f"{weight:g} {name}" for name, (_, weight) in weighted) + (
        "" if config.rpo_alpha is None else f" + {config.rpo_alpha:g} sft"
    )
