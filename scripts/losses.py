"""Trains one model with every loss and prints what each did to the pairs, in one table.

    python scripts/losses.py --repo_id MODEL --dataset_name PAIRS.jsonl

The reference's log-probabilities are computed once and read from disk by all of them. Without arguments it takes the
model and the pairs that come with the package.
"""

import argparse
import math
import sys
import tempfile
from pathlib import Path

import easydel as ed
from easydel import quickstart
from easydel.data.source import load_rows
from easydel.scripts.loading import load_tokenizer
from easydel.trainers.options.losses import TRAITS
from easydel.trainers.record.files import read_metrics

# What a loss cannot do without. That of sppo_hard is a square of nats, which small steps keep from overshooting.
SETTINGS = {
    "exo_pair": {"label_smoothing": 0.1},
    "simpo": {"beta": 2.0},
    "alphapo": {"beta": 2.0},
    "sppo_hard": {"learning_rate": 2e-5},
}
# Losses that set no chosen completion against a rejected one: their margin may go anywhere.
NO_MARGIN = ("sft",)
SHOWN = {"loss": "loss", "rewards/margins": "margin", "rewards/accuracies": "accuracy", "logps/chosen": "logp chosen"}


def main() -> int:
    options = parsed()
    rows = load_rows(options.dataset_name, split="train")[: options.pairs * options.batches]
    model = ed.AutoEasyDeLModelForCausalLM.from_pretrained(options.repo_id, dtype=options.dtype)
    tokenizer = load_tokenizer(options.repo_id, None)
    print(f"{'loss_type':<14}" + "".join(f"{f'{name} first':>20}{'last':>10}" for name in SHOWN.values()))
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for name, traits in TRAITS.items():
            config = ed.DPOConfig(
                model_name=name,
                save_directory=folder,
                loss_type=name,
                total_batch_size=options.pairs,
                num_train_epochs=-(-options.steps // options.batches),
                max_training_steps=options.steps,
                shuffle_train_dataset=False,
                max_length=options.max_length,
                log_steps=1,
                do_last_save=False,
                progress_bar_type="none",
                precompute_ref_log_probs=traits.needs_reference,
                **{"learning_rate": options.learning_rate, **SETTINGS.get(name, {})},
            )
            ed.DPOTrainer(config, model, processing_class=tokenizer, train_dataset=rows).train()
            steps = [entry for entry in read_metrics(Path(folder) / name) if "loss" in entry]
            print(
                f"{name:<14}" + "".join(f"{steps[0][key]:>20.4f}{steps[-1][key]:>10.4f}" for key in SHOWN), flush=True
            )
            finite = all(entry["loss"] is not None and math.isfinite(entry["loss"]) for entry in steps)
            rising = steps[-1]["rewards/margins"] > steps[0]["rewards/margins"]
            if not finite or not (rising or name in NO_MARGIN):
                failed.append(name)
    print(f"not as promised: {', '.join(failed)}" if failed else "every loss stayed finite, and the margins rose")
    return 1 if failed else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo_id", default=str(quickstart.model_folder()), help="folder or hub name of the model")
    parser.add_argument("--dataset_name", default=str(quickstart.train_file()), help="file or hub name of the pairs")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batches", type=int, default=4, help="batches of pairs, used again and again")
    parser.add_argument("--pairs", type=int, default=8, help="pairs per step")
    parser.add_argument("--max_length", type=int, default=256)
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--dtype", default="float32")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
