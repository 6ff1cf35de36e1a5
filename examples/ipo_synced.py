"""IPO (Azar et al. 2023) against a reference that follows the policy (TR-DPO, Gorbatovski et al. 2024).

IPO stops at a margin of 1 / (2 beta) per token; a reference that moves lets the policy go on from where it has come.
"""

import jax
from transformers import AutoTokenizer

import easydel as ed
from easydel import quickstart
from easydel.data.source import load_rows

FULL_SIZE = False  # the line to change: a model and pairs from the hub, on a GPU

HUB = ("meta-llama/Llama-3.2-1B-Instruct", "trl-lib/ultrafeedback_binarized", jax.numpy.bfloat16)
BUILT_IN = (str(quickstart.model_folder()), str(quickstart.train_file()), jax.numpy.float32)


def main(save_directory: str = "dpo_runs", steps: int | None = None) -> ed.DPOTrainer:
    folder, pairs, dtype = HUB if FULL_SIZE else BUILT_IN
    config = ed.DPOConfig(
        model_name="ipo_synced",
        save_directory=save_directory,
        loss_type="ipo",
        beta=0.2,
        sync_ref_model=True,
        ref_model_sync_steps=128 if FULL_SIZE else 2,
        ref_model_mixup_alpha=0.9,
        learning_rate=1e-6 if FULL_SIZE else 1e-4,
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
