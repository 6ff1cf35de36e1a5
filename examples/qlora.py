"""QLoRA: trains adapters on a packed base, trains them on once more, and merges them; a minute on CPU.

    python examples/qlora.py --repo_id meta-llama/Llama-3.1-8B-Instruct --dataset_name trl-lib/ultrafeedback_binarized

It prints the bytes that the base takes and what the loss does. Without arguments it takes the model and the pairs that
come with the package; --help lists what else it takes. docs/adapters.md has the figures of a model of 40 M.
"""

import argparse
import math
import statistics
import tempfile
from pathlib import Path

import jax

import easydel as ed
from easydel import quickstart
from easydel.data.source import load_rows
from easydel.models.causal_lm import CausalLM
from easydel.models.rows import weight_rows
from easydel.scripts.loading import load_tokenizer
from easydel.trainers.log import read_metrics


def main() -> None:
    options = parsed()
    rows = load_rows(options.dataset_name, split="train")
    load = ed.AutoEasyDeLModelForCausalLM.from_pretrained
    base = load(options.repo_id, dtype="float32", quantization=options.quantization)
    print(size(base, options.quantization))
    tokenizer = load_tokenizer(options.repo_id, None)
    with tempfile.TemporaryDirectory() as folder:
        for name, model, rank in (("first", base, options.rank), ("second", None, None)):
            config = ed.DPOConfig(
                model_name=name,
                save_directory=folder,
                lora_rank=rank,
                learning_rate=options.learning_rate,
                max_length=options.max_length,
                max_training_steps=options.steps,
                log_steps=1,
                progress_bar_type="none",
            )
            # The second run starts from the adapters of the first, and a copy of these is its reference.
            model = model or load(Path(folder) / "first" / "model", dtype="float32", quantization=options.quantization)
            trainer = ed.DPOTrainer(config, model, processing_class=tokenizer, train_dataset=rows)
            result = trainer.train()
            print(f"{name}: {course(Path(folder) / name)}")
        result.model.save_pretrained(options.save, merge=True)
        print(f"the whole model, its adapters added, is in {options.save}")


def size(base: CausalLM, quantization: str) -> str:
    """What the base takes in memory."""
    count = sum(math.prod(row.shape(base.sizes)) for row in weight_rows(base.config))
    packed = sum(x.nbytes for x in jax.tree.leaves(base.params))
    return f"{count:,} weights take {packed:,} bytes in {quantization}: {packed / count:.3f} a weight"


def course(run: Path) -> str:
    """The loss at the first step, and its mean over the first and the last fifth of the steps."""
    losses = [entry["loss"] for entry in read_metrics(run) if "loss" in entry]
    fifth = max(1, len(losses) // 5)
    first, last = statistics.fmean(losses[:fifth]), statistics.fmean(losses[-fifth:])
    return f"loss {losses[0]:.4f} at step 1, mean {first:.4f} of the first {fifth} and {last:.4f} of the last {fifth}"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo_id", default=str(quickstart.model_folder()))
    parser.add_argument("--dataset_name", default=str(quickstart.train_file()))
    parser.add_argument("--quantization", default="nf4", choices=("nf4", "int8"))
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--max_length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--save", default="merged")
    return parser.parse_args()


if __name__ == "__main__":
    main()
