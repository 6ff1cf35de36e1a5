"""The DPO tutorial: Llama 3.1 8B on UltraFeedback; here the model and the pairs that come with the package.

With FULL_SIZE the weights, their moments and gradients take 128 GB, which several GPUs share.
"""

import jax
from datasets import load_dataset
from transformers import AutoTokenizer

import easydel as ed
from easydel import quickstart

FULL_SIZE = False  # the line to change

HUB = ("meta-llama/Llama-3.1-8B-Instruct", "trl-lib/ultrafeedback_binarized", {})
BUILT_IN = (str(quickstart.model_folder()), "json", {"data_files": str(quickstart.train_file())})


def main(save_directory: str = "dpo_checkpoints", steps: int | None = None) -> ed.DPOTrainer:
    folder, pairs, files = HUB if FULL_SIZE else BUILT_IN
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = tokenizer.eos_token_id
    dataset = load_dataset(pairs, split="train[:10%]", **files)  # a small subset, to show how it goes

    model = ed.AutoEasyDeLModelForCausalLM.from_pretrained(
        folder, dtype=jax.numpy.bfloat16, gradient_checkpointing="nothing_saveable"
    )
    config = ed.DPOConfig(
        model_name="dpo_example",
        save_directory=save_directory,
        beta=0.1,
        loss_type="sigmoid",
        max_length=2048,
        max_prompt_length=1024,
        total_batch_size=16,
        gradient_accumulation_steps=2,
        learning_rate=1e-6,
        num_train_epochs=3,
        max_training_steps=steps,
        # The tutorial loads a second model as the reference. The same numbers, without its memory:
        precompute_ref_log_probs=True,
    )
    trainer = ed.DPOTrainer(arguments=config, model=model, train_dataset=dataset, processing_class=tokenizer)
    trainer.train()
    return trainer


if __name__ == "__main__":
    main()
