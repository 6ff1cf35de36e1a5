"""MPO (Wang et al. 2024): preference, quality and generation at once, as InternVL is tuned.

DPO says which completion is better, BCO whether one is good, and the likelihood of the chosen ones keeps them writable.
"""

import jax
from transformers import AutoTokenizer

import easydel as ed
from easydel import quickstart
from easydel.data.source import load_rows

FULL_SIZE = False  # the line to change: a model and pairs from the hub, on a GPU

HUB = ("Qwen/Qwen2.5-7B-Instruct", "trl-lib/ultrafeedback_binarized", jax.numpy.bfloat16)
BUILT_IN = (str(quickstart.model_folder()), str(quickstart.train_file()), jax.numpy.float32)


def main(save_directory: str = "dpo_runs", steps: int | None = None) -> ed.DPOTrainer:
    folder, pairs, dtype = HUB if FULL_SIZE else BUILT_IN
    config = ed.DPOConfig(
        model_name="mpo",
        save_directory=save_directory,
        loss_type=["sigmoid", "bco_pair", "sft"],
        loss_weights=[0.8, 0.2, 1.0],
        beta=0.1,
        bco_running_mean=True,
        learning_rate=5e-6 if FULL_SIZE else 1e-4,
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
