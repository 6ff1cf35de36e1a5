"""Options of the run itself: its name and folder, and what it saves when."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from easydel.errors import ConfigError
from easydel.trainers.options.fields import free_option, option

Interval = int | float | Literal["epoch"]
"""How often something is done: every N steps, every share of the run below 1, or after each epoch."""

SIGNS: Mapping[str, str] = {
    "chosen_falling": "the chosen completions become far less likely while the margin rises",
    "margins_saturated": "nearly all pairs are won, and hardly any gradient is left",
    "overfitting": "the loss of an eval set rises while that of training falls",
    "length_only": "eval accuracy is within noise of what length alone gives",
    "answers_longer": "answers to the sample prompts grow longer",
    "answers_repeat": "answers to the sample prompts repeat themselves",
    "adapters_unmoved": "adapters are the same bits as before training",
    "gradient_spike": "the gradient norm of a step is many times that of the steps before it",
    "nothing_learned": "the loss is exactly that of the first step after some updates",
}
"""Signs that a run goes wrong, with what each means; `trainers/warning_signs.py` has the function of each."""
ANY = "any"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a run is written to, when it ends early, what it saves."""

    model_name: str = free_option("dpo", "name of the run: its folder in save_directory", group="run", common=True)
    save_directory: str = free_option("dpo_runs", "folder that holds the folders of all runs", common=True)
    seed: int = option(0, "seed of the data order, of dropout and of new weights", at_least=0)
    resume: Literal["never", "auto"] = free_option(
        "never", "auto: continue from the newest complete checkpoint of the same settings and data", common=True
    )
    max_skipped_steps: int | None = free_option(
        10,
        "end the run after N steps in a row that were skipped because loss or gradient was not finite; none: never",
        at_least=1,
    )
    stop_on: list[str] | None = free_option(
        None,
        "end the run, and save it, at one of these warning signs; any: at each of them (default: it warns and goes on)",
        choices=(ANY, *SIGNS),
    )

    save_steps: Interval | None = free_option(
        None,
        "save a checkpoint every N steps, every share of the run (below 1) or each epoch (default: only at the end)",
        group="saving",
        common=True,
        share=True,
        above=0,
    )
    save_interval_minutes: float | None = free_option(
        None, "also save a checkpoint when the last one is N minutes old (default: never)", above=0
    )
    save_total_limit: int | None = free_option(
        None, "keep the newest N checkpoints, and the best one besides (default: all)", at_least=1
    )
    do_last_save: bool = free_option(True, "save the trained model, a Hugging Face folder, at the end")
    save_dtype: Literal["float32", "bfloat16", "float16"] | None = free_option(
        None,
        "dtype of the saved model (default: that of the base model's file; of adapters, the one they are trained in)",
    )
    push_to_hub: bool = free_option(
        False,
        "upload the trained model and its card to the Hugging Face Hub at the end, with the token of hf auth login",
        needs={"do_last_save": True},
    )
    hub_model_id: str | None = free_option(
        None,
        "repository on the hub, such as me/tuned (default: model_name, under your own account)",
        needs={"push_to_hub": True},
    )
    hub_private_repo: bool = free_option(False, "make a new repository on the hub private", needs={"push_to_hub": True})

    @property
    def stop_on_signs(self) -> tuple[str, ...]:
        """The warning signs that end the run."""
        asked = self.stop_on or []
        return tuple(sign for sign in SIGNS if sign in asked or ANY in asked)


def check_name(config: RunOptions) -> None:
    """Raises ConfigError for a run name that is not one folder: `../x` would write outside save_directory."""
    name = config.model_name
    if name in ("", ".", "..") or any(mark in name for mark in "/\\\0"):
        plain = "-".join(part for part in name.replace("\\", "/").split("/") if part.strip(".")) or "dpo"
        raise ConfigError(
            f"model_name = {name!r} must be one plain folder name: write {plain!r}, and put folders in save_directory."
        )
