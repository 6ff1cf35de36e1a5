"""Runs that several processes make together: `python -m oracles.joined FOLDER`, started by `launch.local.run`."""

import signal
import sys
from pathlib import Path
from typing import Any

import easydel as ed
from easydel import processes
from easydel.errors import Interrupted
from oracles.runs import config
from oracles.tiny import tiny_config, tiny_model, tiny_pairs

FOUR_DEVICES = (1, 4, 1, 1, 1)
CUT_AT = 2  # the step at which the second run gets a signal


def joined_trainer(folder: Path, **options: Any) -> ed.DPOTrainer:
    """A trainer of eight steps on a mesh of four devices, wherever they are."""
    rows = [
        {"prompt_ids": pair.prompt, "chosen_ids": pair.chosen, "rejected_ids": pair.rejected} for pair in tiny_pairs(32)
    ]
    defaults = {
        "total_batch_size": 8,
        "num_train_epochs": 2,
        "evaluate_before_training": False,
        "best_metric": "eval_loss",
    }
    arguments = config(folder, **{**defaults, "learning_rate": 1e-3, **options})
    return ed.DPOTrainer(
        arguments,
        tiny_model(dims=FOUR_DEVICES, config=tiny_config(num_hidden_layers=1)),
        train_dataset=rows,
        eval_dataset=rows[:5],
    )


def main(folder: Path) -> None:
    """Trains to the end in `whole`, and in `cut` until the first process gets a SIGTERM."""
    joined_trainer(folder / "whole").train()
    cut = joined_trainer(folder / "cut")
    go_on = cut.reference.after_step

    def send(step: int, policy: Any) -> None:
        go_on(step, policy)
        if step == CUT_AT and processes.is_first():
            signal.raise_signal(signal.SIGTERM)

    cut.reference.after_step = send
    try:
        cut.train()
    except Interrupted as asked:
        print(asked, flush=True)


if __name__ == "__main__":
    processes.start(peer_timeout=30)
    main(Path(sys.argv[1]))
    processes.stop()
