"""Runs that several processes make together: `python -m oracles.joined FOLDER`, started by `launch.local.run`."""

import signal
import sys
import time
from pathlib import Path
from typing import Any

import easydel as ed
from easydel import processes
from easydel.errors import Interrupted
from oracles.runs import config
from oracles.tiny import tiny_config, tiny_model
from oracles.tokenizers import CHARACTERS, EOS, tiny_tokenizer

FOUR_DEVICES = (1, 4, 1, 1, 1)
STEPS, CUT_AT = 6, 2  # of a run, and the step at which one of them gets a signal
ROWS = [
    {"prompt": f"what is {word}?"[: 6 + at], "chosen": f"{word} is good", "rejected": word[: 1 + at % 4]}
    for at, word in enumerate(
        ["rain", "snow", "wind", "hail", "fog", "sun", "storm", "ice", "frost", "dew", "mist", "sleet"]
    )
]


def joined_trainer(folder: Path, **options: Any) -> ed.DPOTrainer:
    """A trainer of six steps on a mesh of four devices, wherever they are."""
    defaults = {
        "num_train_epochs": 2,
        "learning_rate": 1e-3,
        "max_length": 40,
        "precompute_ref_log_probs": True,
        "cache_directory": str(folder / "cache"),
        "evaluate_before_training": False,
        "best_metric": "eval_loss",
        "log_logit_metrics": False,
        "generation_prompts": 2,
        "generation_max_new_tokens": 2,
    }
    return ed.DPOTrainer(
        config(folder, **{**defaults, **options}),
        tiny_model(
            dims=FOUR_DEVICES,
            config=tiny_config(num_hidden_layers=1, vocab_size=len(CHARACTERS), eos_token_id=EOS),
        ),
        processing_class=tiny_tokenizer(),
        train_dataset=ROWS,
        eval_dataset=ROWS[:5],
    )


def main(folder: Path) -> None:
    """Continues what another left in `taken` to its end, and trains in `cut` until the first process gets a SIGTERM."""
    joined_trainer(folder / "taken", resume="auto").train()
    cut = joined_trainer(folder / "cut")
    go_on = cut.reference.after_step

    def send(step: int, policy: Any) -> None:
        go_on(step, policy)
        if step == CUT_AT and processes.is_first():
            signal.raise_signal(signal.SIGTERM)
        if step >= CUT_AT:
            time.sleep(0.3)  # in which the processes tell each other

    cut.reference.after_step = send
    try:
        cut.train()
    except Interrupted as asked:
        print(asked, flush=True)


if __name__ == "__main__":
    processes.start(peer_timeout=30)
    main(Path(sys.argv[1]))
    processes.stop()
