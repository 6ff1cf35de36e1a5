"""QLoRA: trains adapters on a packed base, trains them on once more, and merges them; a minute on CPU.

Without arguments it takes the model and the pairs that come with the package. At full size:

    python examples/qlora.py --repo_id meta-llama/Llama-3.1-8B-Instruct --dataset_name trl-lib/ultrafeedback_binarized
"""

import argparse
import tempfile
from pathlib import Path

import jax

import easydel as ed
from easydel import quickstart
from easydel.data.source import load_rows
from easydel.scripts.loading import load_tokenizer


def main() -> None:
    options = parsed()
    rows = load_rows(options.dataset_name, split="train")
    load = ed.AutoEasyDeLModelForCausalLM.from_pretrained
    base = load(options.repo_id, dtype="float32", quantization=options.quantization)
    packed = sum(x.nbytes for x in jax.tree.leaves(base.params))
    print(f"the base takes {packed:,} bytes, packed into {options.quantization}")
    with tempfile.TemporaryDirectory() as folder:
        for name, model, rank in (("first", base, options.rank), ("second", None, None)):
            config = ed.DPOConfig(
                model_name=name,
                save_directory=folder,
                lora_rank=rank,
                learning_rate=1e-3,
                max_length=128,
                max_training_steps=options.steps,
                progress_bar=False,
            )
            # The second run starts from the adapters of the first, and a copy of these is its reference.
            model = model or load(Path(folder) / "first" / "model", dtype="float32", quantization=options.quantization)
            tokenizer = load_tokenizer(options.repo_id, None)
            result = ed.DPOTrainer(config, model, processing_class=tokenizer, train_dataset=rows).train()
            print(f"{name}: margin {result.metrics['rewards/margins']:.3f} after {result.steps} steps")
        result.model.save_pretrained(options.save, merge=True)
        print(f"the whole model, its adapters added, is in {options.save}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo_id", default=str(quickstart.model_folder()))
    parser.add_argument("--dataset_name", default=str(quickstart.train_file()))
    parser.add_argument("--quantization", default="nf4", choices=("nf4", "int8"))
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--save", default="merged")
    return parser.parse_args()


if __name__ == "__main__":
    main()
