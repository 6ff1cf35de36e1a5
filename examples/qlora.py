"""QLoRA: adapters on a base packed into 4 bits; trained on once more, and merged into a whole model.

The second run starts from the adapters of the first, and a copy of these is its reference. docs/adapters.md has the
figures of a model of 40 M.
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
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = load_rows(pairs, split="train")

    def trainer_of(place: str, config: ed.DPOConfig) -> ed.DPOTrainer:
        load = ed.AutoEasyDeLModelForCausalLM.from_pretrained
        model = load(place, dtype=dtype, param_dtype=dtype, quantization="nf4")
        return ed.DPOTrainer(arguments=config, model=model, processing_class=tokenizer, train_dataset=rows)

    first = ed.DPOConfig(
        model_name="qlora",
        save_directory=save_directory,
        lora_rank=8,
        learning_rate=1e-5 if FULL_SIZE else 1e-3,
        max_length=1024 if FULL_SIZE else 128,
        max_training_steps=steps,
    )
    trainer_of(folder, first).train()
    again = ed.DPOConfig(
        model_name="qlora_again",
        save_directory=save_directory,
        merge_lora_before_save=True,
        learning_rate=first.learning_rate,
        max_length=first.max_length,
        max_training_steps=steps,
    )
    # A folder of adapters says which base they are for.
    trainer = trainer_of(str(first.run_folder / "model"), again)
    trainer.train()
    return trainer


if __name__ == "__main__":
    main()
