"""The quick start from Python: the model and the pairs that come with the package, in ten seconds on CPU.

With FULL_SIZE it is Qwen 2.5 0.5B on UltraFeedback, which a GPU of 24 GB trains.
"""

import jax
from transformers import AutoTokenizer

import easydel as ed
from easydel import quickstart
from easydel.data.source import load_rows

FULL_SIZE = False  # the line to change


def main(save_directory: str = "dpo_runs", steps: int | None = None) -> ed.DPOTrainer:
    if FULL_SIZE:
        folder, dtype = "Qwen/Qwen2.5-0.5B-Instruct", jax.numpy.bfloat16
        train = load_rows("trl-lib/ultrafeedback_binarized", split="train")
        held_out = load_rows("trl-lib/ultrafeedback_binarized", split="test[:200]")
    else:
        folder, dtype = str(quickstart.model_folder()), jax.numpy.float32
        train, held_out = load_rows(str(quickstart.train_file())), load_rows(str(quickstart.eval_file()))

    config = ed.DPOConfig(
        model_name="quick-start",
        save_directory=save_directory,
        beta=0.1 if FULL_SIZE else 0.3,
        learning_rate=1e-6 if FULL_SIZE else 1e-4,
        scheduler="linear",
        warmup_steps=5,
        max_length=1024 if FULL_SIZE else 128,
        max_training_steps=steps,
        generation_prompts=3,
    )
    trainer = ed.DPOTrainer(
        arguments=config,
        model=ed.AutoEasyDeLModelForCausalLM.from_pretrained(folder, dtype=dtype),
        processing_class=AutoTokenizer.from_pretrained(folder),
        train_dataset=train,
        eval_dataset=held_out,
    )
    trainer.train()
    return trainer


if __name__ == "__main__":
    main()
