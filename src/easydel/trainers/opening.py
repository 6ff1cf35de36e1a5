"""What is said about a run before its first step, as values for a program and as a table for people; and its log."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from easydel.display.display import Display
from easydel.display.pairs import Piece, below_one_another
from easydel.memory import in_one_line
from easydel.models.causal_lm import CausalLM
from easydel.models.quantize import quantization_of
from easydel.models.rows import weight_rows
from easydel.processes import is_first
from easydel.trainers.config import DPOConfig
from easydel.trainers.log import MetricsLog
from easydel.trainers.pace import Pace, in_words
from easydel.trainers.report.run import title
from easydel.trainers.run_folder import RunFolder
from easydel.trainers.shown import Shown
from easydel.trainers.split import Split
from easydel.trainers.tracker_kinds import About
from easydel.trainers.trackers import Trackers
from easydel.weights.table import Row

# What trackers are told besides the settings.
_TRACKED_FACTS = ("model", "model_type", "parameters", "trained_parameters", "devices", "platform", "mesh")


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What there is to know about a run that is about to start."""

    config: DPOConfig
    model: CausalLM
    split: Split  # which of its weights are trained
    data: Mapping[str, Shown]
    folder: RunFolder
    streamed: bool  # the training rows come from a stream
    done: int  # steps that lie behind
    pace: Pace
    needed_memory: Mapping[str, int]  # bytes by purpose, beside the model as it was loaded
    available_memory: int | None  # bytes; None where nobody can tell

    def values(self) -> dict[str, Any]:
        """Returns what a program is told, see docs/terminal.md."""
        mesh = self.model.decoder.mesh
        return {
            "run": self.config.model_name,
            "folder": self.folder.path.absolute(),
            "model": self.model.origin.name,
            "model_type": self.model.config.model_type,
            "parameters": self._parameters,
            "trained_parameters": self._trained,
            "loss": _losses(self.config),
            "devices": mesh.size,
            "platform": mesh.devices.flat[0].platform,
            "mesh": dict(mesh.shape),
            "memory_needed": dict(self.needed_memory),
            "memory_available": self.available_memory,
            "data": {name: shown.values() for name, shown in self.data.items()},
            "chat_template_date": self.config.chat_template_date,
            "pairs_per_step": self.config.total_batch_size,
            "step": self.done,
            "total_steps": self.pace.total_steps,
            "pace": {name: steps for name, steps in self.pace._asdict().items() if name != "total_steps"},
        }

    def text(self) -> str:
        """Returns what people are told: what is trained on what, how far, and where the results will be."""
        return "".join(piece.text for piece in self.marked())

    def marked(self) -> list[Piece]:
        """Returns the text with what each part of it is, which may be in color."""
        facts = {"run": f"{self.config.model_name}, in {self.folder.path}", "model": self._model()}
        facts |= {"trained": self._trained_words(), "loss": _losses(self.config), "devices": self._devices()}
        if self.needed_memory:
            facts["memory"] = in_one_line(self.needed_memory, self.available_memory)
        data = [
            line
            for name, shown in self.data.items()
            for line in shown.lines(title(name), streamed=name == "train" and self.streamed)
        ]
        rest = {}
        if self.config.chat_template_date is not None:
            rest["chat template"] = f"writes {self.config.chat_template_date} as the date of today"
        behind = f", of which {self.done} lie behind" if self.done else ""
        rest["steps"] = f"{self.pace.total_steps} of {self.config.total_batch_size} pairs{behind}"
        lines = [*_lines(facts), *data, *_lines(rest)]
        return [*below_one_another(lines), *(Piece("text", f"\n{note}") for note in self._notes())]

    @property
    def _parameters(self) -> int:
        return self._size_of(weight_rows(self.model.config)) + self._size_of(self.model.adapter_rows)

    @property
    def _trained(self) -> int:
        forms = jax.eval_shape(lambda: self.split.trained_part(self.model.params))  # it copies what is frozen in part
        return sum(form.size for form in jax.tree.leaves(forms))

    def _size_of(self, rows: Sequence[Row]) -> int:
        return sum(math.prod(row.shape(self.model.sizes)) for row in rows)

    def _model(self) -> str:
        packed, decoder = quantization_of(self.model.params), self.model.decoder
        kept = packed or jax.tree.leaves(self.model.params)[0].dtype.name
        computed = jnp.dtype(decoder.dtype).name
        words = f"{self.model.config.model_type}, {self._size_of(weight_rows(self.model.config)):,} weights in {kept}"
        return words + ("" if kept == computed else f", computed in {computed}")

    def _trained_words(self) -> str:
        if self.model.lora is not None:
            return f"adapters of rank {self.model.lora.rank}, {self._trained:,} weights"
        share = self._trained / self._parameters
        return "all weights" if share == 1 else f"{self._trained:,} weights, {share:.1%} of them"

    def _devices(self) -> str:
        mesh = self.model.decoder.mesh
        split = ", ".join(f"{axis} {length}" for axis, length in mesh.shape.items() if length > 1)
        kind = mesh.devices.flat[0].device_kind
        return f"{mesh.size} {kind}" + (f", split by {split}" if split else "")

    def _notes(self) -> list[str]:
        """What is not as it may have been meant."""
        config, notes = self.config, []
        if self.folder.moved is not None:
            notes.append(f"What was in {self.folder.path} was moved to {self.folder.moved}.")
        if config.resume == "auto" and not self.done:
            notes.append(
                "There is no checkpoint to continue from, so the run starts at its beginning; save_steps makes some."
            )
        asked = config.max_training_steps
        if not self.streamed and asked is not None and self.pace.total_steps < asked:
            many = config.num_train_epochs > 1
            ended = f"{config.num_train_epochs} epoch{'s' if many else ''} (num_train_epochs) end{'' if many else 's'}"
            notes.append(f"max_training_steps = {asked} is not reached: {ended} before.")
        notes += [words] if (words := in_words(config, self.pace)) else []
        return notes


def make_log(opening: Opening, display: Display) -> MetricsLog:
    """Returns where the metrics of a run go; of several processes only the first writes, shows and tracks them.

    Trackers start here, best while programs are compiled in the background.
    """
    config, folder, trackers = opening.config, opening.folder.path, None
    if config.trackers and is_first():
        facts = {name: value for name, value in opening.values().items() if name in _TRACKED_FACTS}
        facts["data"] = {name: shown.counts.values() for name, shown in opening.data.items()}  # no text of any row
        about = About(
            folder,
            config.model_name,
            config.to_dict() | facts,
            step=opening.done,
            wandb_name=config.wandb_name,
            wandb_entity=config.wandb_entity,
        )
        trackers = Trackers(config.trackers, about, display=display)
    return MetricsLog(
        folder,
        config.model_name,
        total=opening.pace.total_steps,
        done=opening.done,
        display=display,
        trackers=trackers,
        writes=is_first(),
    )


def _lines(facts: Mapping[str, str]) -> list[tuple[str, list[Piece]]]:
    return [(label, [Piece("text", text)]) for label, text in facts.items()]


def _losses(config: DPOConfig) -> str:
    names = config.to_dict()["loss_type"]
    weighted = zip([names] if isinstance(names, str) else names, config.losses, strict=False)
    return " + ".join(name if weight == 1 else f"{weight:g} {name}" for name, (_, weight) in weighted) + (
        "" if config.rpo_alpha is None else f" + {config.rpo_alpha:g} sft"
    )
