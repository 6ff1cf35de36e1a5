"""SimPO (Meng et al. 2024): no reference, rewards per token, and a margin that the chosen completion must win by.

beta, gamma (0.55 beta), rate, schedule and batch are those of the authors for Llama 3 8B Instruct. Their rows are
longer (2,048 tokens), their pairs others, and they warm up over a tenth of the steps.
"""

import jax
from transformers import AutoTokenizer

import easydel as ed
from easydel import quickstart
from easydel.data.source import load_rows

FULL_SIZE = False  # the line to change: a model and pairs from the hub, on a GPU

HUB = ("meta-llama/Meta-Llama-3-8B-Instruct", "trl-lib/ultrafeedback_binarized", jax.numpy.bfloat16)
BUILT_IN = (str(quickstart.model_folder()), str(quickstart.train_file()), jax.numpy.float32)


def main(save_directory: str = "dpo_runs", steps: int | None = None) -> ed.DPOTrainer:
    folder, pairs, dtype = HUB if FULL_SIZE else BUILT_IN
    config = ed.DPOConfig(
        model_name="simpo",
        save_directory=save_directory,
        loss_type="simpo",
        beta=2.5,
        simpo_gamma=1.4,
        learning_rate=1e-6 if FULL_SIZE else 1e-4,
        scheduler="cosine",
        warmup_steps=5,
        total_batch_size=128 if FULL_SIZE else 16,
        max_length=1024 if FULL_SIZE else 128,
        max_training_steps=steps,
    )
    trainer = ed.DPOTrainer(
        arguments=config,
        model=ed.AutoEasyDeLModelForCausalLM.from_pretrained(folder, dtype=dtype),
        processing_class=AutoTokenizer.from_pretrained(folder),
        train_dataset=load_rows(pairs, split="train"),
    )
    trainer.train()
    return trainer


if __name__ == "__main__":
    main()
