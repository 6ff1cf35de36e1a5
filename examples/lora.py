"""LoRA: adapters beside the weights, which stay as they are and serve as the reference.

What is saved is a folder of adapters as PEFT writes them; `merge_lora_before_save` saves the whole model instead.
"""

import jax
from transformers import AutoTokenizer

import easydel as ed
from easydel import quickstart
from easydel.data.source import load_rows

FULL_SIZE = False  # the line to change: a model and pairs from the hub, on a GPU

HUB = ("meta-llama/Llama-3.1-8B-Instruct", "trl-lib/ultrafeedback_binarized", jax.numpy.bfloat16)
BUILT_IN = (str(quickstart.model_folder()), str(quickstart.train_file()), jax.numpy.float32)


def main(save_directory: str = "dpo_runs", steps: int | None = None) -> ed.DPOTrainer:
    folder, pairs, dtype = HUB if FULL_SIZE else BUILT_IN
    config = ed.DPOConfig(
        model_name="lora",
        save_directory=save_directory,
        lora_rank=16,
        lora_alpha=32,
        lora_target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
        learning_rate=1e-5 if FULL_SIZE else 1e-3,
        max_length=1024 if FULL_SIZE else 128,
        max_training_steps=steps,
    )
    trainer = ed.DPOTrainer(
        arguments=config,
        model=ed.AutoEasyDeLModelForCausalLM.from_pretrained(folder, dtype=dtype, param_dtype=dtype),
        processing_class=AutoTokenizer.from_pretrained(folder),
        train_dataset=load_rows(pairs, split="train"),
    )
    trainer.train()
    return trainer


if __name__ == "__main__":
    main()
