"""Trains with TRL, run by the Python of its environment: `python worker_trl.py '{"model": ..., ...}'`.

TRL's defaults stand, gradient checkpointing among them, but for what makes the comparison one: float32 on CPU,
bfloat16 over float32 weights on a GPU, a constant learning rate, no clipping, and the order of the file. It also writes
the tokens that it trains on.
"""

import json
import sys
import time
from pathlib import Path

import torch  # pyright: ignore[reportMissingImports]  # as trl, of an environment of its own
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer  # pyright: ignore[reportMissingImports]


class Reporter(TrainerCallback):
    """Appends the loss of every step to a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._began = 0.0

    def on_step_begin(self, args, state, control, **others):
        self._began = time.perf_counter()

    def on_log(self, args, state, control, logs=None, **others):
        if logs is not None and "loss" in logs:  # the summary at the end has none
            entry = {"step": state.global_step, "loss": logs["loss"], "step_time": time.perf_counter() - self._began}
            if torch.cuda.is_available():
                entry["memory"] = torch.cuda.max_memory_allocated()
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")


def main(job: dict) -> None:
    rows = [json.loads(line) for line in Path(job["rows"]).read_text(encoding="utf-8").splitlines()]
    folder = Path(job["folder"])
    arguments = DPOConfig(
        output_dir=str(folder / "run"),
        per_device_train_batch_size=job["batch_size"],
        max_length=job["max_length"],
        beta=job["beta"],
        learning_rate=job["learning_rate"],
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        gradient_checkpointing=job["gradient_checkpointing"],
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=job["device"] == "cpu",
        bf16=job["device"] == "gpu",
        seed=0,
    )
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32),
        ref_model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32),
        args=arguments,
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
        train_dataset=Dataset.from_list(rows),
        callbacks=[Reporter(folder / "steps.jsonl")],
    )
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    tokens = [[row[name] for name in names] for row in trainer.train_dataset]
    (folder / "tokens.json").write_text(json.dumps(tokens), encoding="utf-8")
    trainer.train()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
