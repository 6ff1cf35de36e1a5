"""The DPO tutorial, line by line, with a local model and local files in place of names on the hub."""

import json
import math
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import pytest
from datasets import load_dataset
from transformers import AutoTokenizer

import easydel as ed
from easydel.quickstart import model_folder, train_file
from easydel.trainers import DPOConfig
from easydel.trainers.record.files import read_metrics
from oracles.tutorial import COMMAND

pytestmark = pytest.mark.exact

MODEL = str(model_folder())


@pytest.fixture(autouse=True)
def no_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    """`use_wandb` is part of the tutorial; whether wandb is installed must not matter here."""
    monkeypatch.setitem(sys.modules, "wandb", None)


def some_rows(percent: int) -> Any:
    return load_dataset("json", data_files=str(train_file()), split=f"train[:{percent}%]")


def test_the_configuration_section() -> None:
    dpo_config = DPOConfig(
        # Model and training basics
        model_name="DPOTrainer",
        learning_rate=1e-6,
        # Beta parameter controls how strongly to optimize preferences
        beta=0.1,
        # Loss function options
        loss_type="sigmoid",
        label_smoothing=0.0,
        # Sequence length parameters
        max_length=512,
        max_prompt_length=256,
        max_completion_length=256,
        # Reference model control
        reference_free=False,
        sync_ref_model=False,
        ref_model_sync_steps=64,
        # Training optimization
        disable_dropout=True,
        total_batch_size=16,
        gradient_accumulation_steps=1,
    )
    assert dpo_config.total_batch_size == 16


def test_the_basic_usage_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = tokenizer.eos_token_id

    dataset = some_rows(3)

    model = ed.AutoEasyDeLModelForCausalLM.from_pretrained(MODEL, dtype=jax.numpy.bfloat16)
    ref_model = ed.AutoEasyDeLModelForCausalLM.from_pretrained(MODEL, dtype=jax.numpy.bfloat16)

    config = ed.DPOConfig(
        model_name="dpo_example",
        save_directory="dpo_checkpoints",
        beta=0.1,
        loss_type="sigmoid",
        max_length=2048,
        max_prompt_length=1024,
        total_batch_size=16,
        learning_rate=1e-6,
        num_train_epochs=3,
        use_wandb=True,
    )

    trainer = ed.DPOTrainer(
        model=model,
        reference_model=ref_model,
        arguments=config,
        train_dataset=dataset,
        processing_class=tokenizer,
    )

    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it fails
    with pytest.warns(UserWarning, match="wandb is not installed"):
        trainer.train()

    run = tmp_path / "dpo_checkpoints" / "dpo_example"
    assert read_metrics(run)[-1]["step"] == 3 * 3  # 36 rows in batches of 16, 16 and 4
    assert (run / "model" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("snippet", "first_loss"),
    [
        ({"loss_type": "ipo", "beta": 0.2}, (1 / (2 * 0.2)) ** 2),  # of a policy that is its reference
        ({"sync_ref_model": True, "ref_model_sync_steps": 128, "ref_model_mixup_alpha": 0.9}, math.log(2)),
        ({"reference_free": True}, None),
    ],
    ids=["ipo", "reference syncing", "reference-free"],
)
@pytest.mark.filterwarnings("ignore:sync_ref_model = True moves")  # after 128 steps, and here are two
def test_the_advanced_usage_sections(tmp_path: Path, snippet: dict[str, Any], first_loss: float | None) -> None:
    config = ed.DPOConfig(
        **snippet,
        save_directory=str(tmp_path),
        max_training_steps=2,
        total_batch_size=4,
        log_steps=1,
        progress_bar_type="none",
    )
    trainer = ed.DPOTrainer(
        arguments=config,
        model=ed.AutoEasyDeLModelForCausalLM.from_pretrained(MODEL, dtype=jax.numpy.float32),
        train_dataset=some_rows(1),
        processing_class=AutoTokenizer.from_pretrained(MODEL),
    )
    trainer.train()
    first = read_metrics(config.run_folder)[0]
    if first_loss is None:  # rewards are of the policy alone
        assert first["rewards/chosen"] == pytest.approx(config.beta * first["logps/chosen"])
        assert first["rewards/rejected"] == pytest.approx(config.beta * first["logps/rejected"])
    else:
        assert first["loss"] == pytest.approx(first_loss, abs=1e-6)


def test_the_command_runs_as_written(tmp_path: Path) -> None:
    # 40 of the rows: the command trains on 90 % of them for three epochs.
    few = tmp_path / "pairs.jsonl"
    few.write_text("".join(train_file().read_text(encoding="utf-8").splitlines(keepends=True)[:40]), encoding="utf-8")
    words = COMMAND.replace("meta-llama/Llama-3.1-8B-Instruct", MODEL).replace(
        "trl-lib/ultrafeedback_binarized", str(few)
    )
    done = subprocess.run(
        [sys.executable, "-m", "easydel.scripts.finetune.dpo", *shlex.split(words)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "dpo_runs").iterdir()
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert entries[-1]["step"] == 9  # 36 rows, three epochs of three batches; logged at the end, as 9 < 50
    assert (run / "model" / "tokenizer.json").exists()
    assert ed.DPOConfig.from_yaml(run / "config.yaml").beta == 0.08
