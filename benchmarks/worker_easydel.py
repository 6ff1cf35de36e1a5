"""Trains with EasyDeL 0.3.0, run by the Python of its environment: `python worker_easydel.py '{"model": ..., ...}'`.

It is given token ids, because its own tokenization leaves out the BOS and tokenizes completions apart from prompts.
Asked for float32 it still rounds in three places, which is undone here, so that it trains the model the others train:
weights pass through float16 on loading, attention computes in bfloat16, and rotary tables are rounded to bfloat16.
"""

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import torch  # pyright: ignore[reportMissingImports]  # of an environment of its own
from datasets import Dataset
from transformers import AutoTokenizer

# By name, because type checkers take `easydel` for ours.
easydel: Any = importlib.import_module("easydel")
base_config: Any = importlib.import_module("easydel.infra.base_config")
utils: Any = importlib.import_module("easydel.infra.utils")
layers: Any = importlib.import_module("easydel.layers")


def float32_frequencies(config, head_size=None, rotary_dim=None, base=None):
    """What `EasyDeLBaseConfig.get_basic_frequencies` returns on one device, without its cast to bfloat16."""
    head_size = head_size or config.head_dim
    return utils.ModuleCaches(
        layers.get_frequencies(
            head_size=head_size,
            rotary_dim=rotary_dim or head_size,
            max_position=config.granted_freq_max_position_embedding,
            base=base or config.rope_theta,
            rope_scaling=config._get_rope_config().to_dict(),
            partial_rotary_factor=1.0,
        )
    )


class ReportingTrainer(easydel.DPOTrainer):
    """EasyDeL's trainer, which appends the loss of every step to a file through the hooks it has for that."""

    report_to: Path
    began = 0.0

    def on_step_start(self, state, step):
        self.began = time.perf_counter()
        return super().on_step_start(state=state, step=step)

    def on_step_end(self, state, metrics, step):
        seconds = time.perf_counter() - self.began
        with self.report_to.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "loss": float(metrics.loss), "step_time": seconds}) + "\n")
        return super().on_step_end(state, metrics, step)


def main(job: dict) -> None:
    base_config.EasyDeLBaseConfig.get_basic_frequencies = float32_frequencies
    rows = [json.loads(line) for line in Path(job["rows"]).read_text(encoding="utf-8").splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    folder = Path(job["folder"])
    arguments = easydel.DPOConfig(
        model_name="run",
        save_directory=str(folder),
        beta=job["beta"],
        loss_type="sigmoid",
        max_length=job["max_length"],
        max_prompt_length=job["max_prompt_length"],
        max_completion_length=job["max_completion_length"],
        total_batch_size=job["batch_size"],
        learning_rate=job["learning_rate"],
        weight_decay=0.0,
        num_train_epochs=1,
        shuffle_train_dataset=False,
        log_steps=1,
        do_last_save=False,
        use_wandb=False,
    )
    model = easydel.AutoEasyDeLModelForCausalLM.from_pretrained(
        job["model"],
        dtype=jnp.float32,
        param_dtype=jnp.float32,
        torch_dtype=torch.float32,
        config_kwargs={"attn_dtype": jnp.float32, "attn_softmax_dtype": jnp.float32},
        from_torch=True,
    )
    trainer = ReportingTrainer(
        arguments=arguments, model=model, processing_class=tokenizer, train_dataset=Dataset.from_list(rows)
    )
    trainer.report_to = folder / "steps.jsonl"
    trainer.train()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
