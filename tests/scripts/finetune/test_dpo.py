import dataclasses
import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import easydel
from easydel.errors import ConfigError, DataError, Interrupted
from easydel.scripts.finetune import dpo
from easydel.scripts.loading import axis_dims
from easydel.trainers.config import DPOConfig
from easydel.trainers.dpo import DPOTrainer
from oracles.tutorial import COMMAND

SOMETHING = ["--repo_id", "model", "--dataset_name", "rows.jsonl"]


def test_the_command_of_the_tutorial_is_read_as_written():
    run, config = dpo.parse(shlex.split(COMMAND))
    assert run == dpo.RunConfig(
        repo_id="meta-llama/Llama-3.1-8B-Instruct",
        dataset_name="trl-lib/ultrafeedback_binarized",
        dataset_split="train[:90%]",
        reference_model_repo_id="meta-llama/Llama-3.1-8B-Instruct",
        attn_mechanism="vanilla",
    )
    assert config == DPOConfig(
        beta=0.08,
        loss_type="sigmoid",
        max_length=2048,
        max_prompt_length=1024,
        total_batch_size=16,
        learning_rate=1e-6,
        log_steps=50,
        num_train_epochs=3,
        do_last_save=True,
        save_steps=1000,
        use_wandb=True,
    )


@pytest.mark.parametrize("option", ["repo_id", "reference_model_repo_id", "dataset_name", "eval_dataset_name"])
def test_what_lies_in_the_folder_of_an_earlier_run_of_that_name_is_not_read(option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dpo_runs" / "dpo" / "model").mkdir(parents=True)
    named = {"repo_id": "model", "dataset_name": "pairs.jsonl", option: "dpo_runs/dpo/model"}
    assert dpo.main([word for name, value in named.items() for word in (f"--{name}", value)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {option} 'dpo_runs/dpo/model' lies in the folder of this run, dpo_runs/dpo, ")
    assert [path.name for path in (tmp_path / "dpo_runs").iterdir()] == ["dpo"]


@pytest.mark.parametrize("flag", ["--reference-model-repo-id", "--refrence_model_repo_id"])
def test_both_spellings_of_the_reference_model_are_read(flag):
    run, _ = dpo.parse([*SOMETHING, flag, "c"])
    assert run.reference_model_repo_id == "c"


@pytest.mark.parametrize(
    ("flag", "here"),
    [
        ("--max-grad-norm", "--clip_grad"),
        ("--eval_steps", "--evaluation_steps"),
        ("--no_use_peft", "--lora_rank: a rank makes adapters, none trains all weights"),
        ("--saves_per_epoch", "--save_steps: a share of the run, 1 / (times per epoch x num_train_epochs), or 'epoch'"),
        ("--output_dir", "--save_directory: model_name is the folder in it"),
        ("--activation_checkpointing", "--gradient_checkpointing: a policy such as nothing_saveable"),
        ("--model_name_or_path", "--repo_id"),
    ],
)
def test_a_flag_of_another_program_is_answered_with_ours(flag, here):
    with pytest.raises(ConfigError, match=rf"unknown flag {flag}\. Here it is {re.escape(here)}\.$"):
        dpo.parse([flag, "1"])


def test_help_lists_every_field(capsys):
    with pytest.raises(SystemExit) as stop:
        dpo.main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    letters = "".join(shown.split())  # a line may break after a hyphen
    for field in (*dataclasses.fields(dpo.RunConfig), *dataclasses.fields(DPOConfig)):
        assert f"--{field.name} " in shown
        assert "".join(field.metadata["help"].split()) in letters


def test_without_model_and_data_the_quick_start_runs_under_the_flags_given():
    run, config = dpo.parse(["--beta", "0.2", "--no_compilation_cache"])
    assert Path(run.repo_id).is_dir()
    assert Path(run.dataset_name).is_file()
    assert Path(run.eval_dataset_name or "").is_file()
    assert not run.compilation_cache
    assert config == DPOConfig(**{**dpo.QUICK_START, "beta": 0.2})


@pytest.mark.parametrize(
    ("flags", "scheduler", "warmup"),
    [
        ("--warmup_ratio 0.1", "linear", (0, 0.1)),
        ("--lr_scheduler_type cosine", "cosine", (5, None)),
        ("--scheduler constant", "constant", (0, None)),
        ("--lr_scheduler_type constant", "constant", (0, None)),
        ("--scheduler constant_with_warmup", "constant_with_warmup", (5, None)),
    ],
)
def test_a_flag_takes_the_place_of_a_default_of_the_quick_start_that_it_contradicts(flags, scheduler, warmup):
    config = dpo.parse(flags.split())[1]
    assert (config.scheduler, (config.warmup_steps, config.warmup_ratio)) == (scheduler, warmup)


def test_an_epoch_of_a_stream_is_an_error_before_anything_is_loaded():
    with pytest.raises(ConfigError, match="save_steps = 'epoch' has no meaning for a stream"):
        dpo.parse([*SOMETHING, "--streaming", "--max_training_steps", "10", "--save_steps", "epoch"])
    with pytest.raises(ConfigError, match=r"num_train_epochs = 0\.5 has no meaning for a stream"):
        dpo.parse([*SOMETHING, "--streaming", "--max_training_steps", "10", "--num_train_epochs", "0.5"])


@pytest.mark.parametrize("flags", [["--evaluation_steps", "epoch"], ["--best_metric", "eval_loss"]])
def test_evaluations_without_rows_are_an_error_before_anything_is_loaded(flags):
    with pytest.raises(ConfigError, match=f"{' '.join(flags)} needs held-out rows: .* --test_split_size"):
        dpo.parse([*SOMETHING, *flags])
    for rows in (["--eval_dataset_name", "e"], ["--eval_dataset_split", "test"], ["--test_split_size", "9"]):
        dpo.parse([*SOMETHING, *flags, *rows])


def test_what_a_schedule_is_told_is_json_as_in_transformers_or_pairs():
    given = ["--scheduler", "cosine_with_min_lr", "--lr_scheduler_kwargs"]
    for words in (['{"min_lr_rate": 0.1, "num_cycles": 1}'], ["min_lr_rate=0.1", "num_cycles=1"]):
        config = dpo.parse([*SOMETHING, *given, *words])[1]
        assert config.lr_scheduler_kwargs == {"min_lr_rate": 0.1, "num_cycles": 1}


def test_several_datasets_are_named_with_spaces_or_commas():
    for flags in (
        ["a.jsonl", "b.jsonl", "--dataset_weights", "0.7", "0.3"],
        ["a.jsonl,b.jsonl", "--dataset_weights=0.7,0.3"],
    ):
        run, _ = dpo.parse(
            ["--repo_id", "model", "--dataset_name", *flags, "--eval_dataset_name", "easy=e.jsonl", "hard=h.jsonl"]
        )
        assert (run.dataset_name, run.dataset_weights) == (["a.jsonl", "b.jsonl"], [0.7, 0.3])
        assert run.eval_dataset_name == ["easy=e.jsonl", "hard=h.jsonl"]
        assert dpo.sources(run) == (
            "train_dataset is split train of each of a.jsonl, b.jsonl, "
            "eval_dataset the only split of each of e.jsonl, h.jsonl"
        )


def test_sharding_axis_may_begin_with_a_dash():
    run, _ = dpo.parse([*SOMETHING, "--sharding_axis", "-1,1,1,1,1"])
    assert axis_dims(run.sharding_axis) == (-1, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--bta", "0.2"], "error: unknown flag --bta. Did you mean --beta?"),
        (["--repo_id", ""], "error: --repo_id is empty: is a shell variable not set?"),
        (["--repo_id", "", "--dataset_name", ""], "error: --repo_id is empty"),
        ([*SOMETHING, "--dataset-name="], "error: --dataset_name is empty"),
        ([*SOMETHING, "--reference_model_repo_id", ""], "error: --reference_model_repo_id is empty"),
        (["--repo_id", "x"], "error: --repo_id x needs --dataset_name too"),
        (["--dataset_name", "x"], "error: --dataset_name x needs --repo_id too"),
        ([*SOMETHING, "--beta", "0"], "error: beta = 0.0 must be above 0."),
        ([*SOMETHING, "--sharding_axis", "1,1"], "error: sharding_axis = '1,1' must be five whole numbers"),
        ([*SOMETHING, "--dtype", "int8"], "error: dtype = 'int8' is not one of 'float32'"),
        (
            [*SOMETHING, "--reference_free", "--reference_model_repo_id", "x"],
            "error: --reference_free trains without a reference, but --reference_model_repo_id x gives one",
        ),
        (
            [*SOMETHING, "--dataset_weights", "1", "2"],
            "error: --dataset_weights has no meaning for one dataset: drop it, or name more in --dataset_name.",
        ),
        (
            ["--repo_id", "x", "--dataset_name", "a", "b", "--dataset_weights", "1", "0"],
            "error: dataset_weights = [1.0, 0.0] must be above 0",
        ),
        (
            [*SOMETHING, "--dataset_stop", "all_exhausted"],
            "error: --dataset_stop all_exhausted has no meaning without --dataset_weights",
        ),
        (["--repo_id", "x", "--dataset_name", "a,,b"], "error: --dataset_name a,,b has an empty name in it"),
        (["--dataset_name", "a", "b"], "error: --dataset_name a b needs --repo_id too"),
        (
            [*SOMETHING, "--eval_dataset_name", "easy=a.jsonl", "b.jsonl"],
            "error: --eval_dataset_name: 'b.jsonl' has no name. Several sets are told apart by names of their own",
        ),
        (
            [*SOMETHING, "--eval_dataset_name", "easy=a.jsonl", "easy=b.jsonl"],
            "error: --eval_dataset_name: two sets are called 'easy'.",
        ),
        ([*SOMETHING, "--streaming"], "error: --streaming reads pairs as training goes and never knows how many"),
        (["--config", "missing.yaml"], "error: Cannot read the configuration 'missing.yaml'"),
        (SOMETHING, "error: there is no file or folder 'rows.jsonl'"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_status_2(argv, message, capsys):
    assert dpo.main([*argv, "--no_compilation_cache"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_a_folder_without_a_tokenizer_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no tokenizer, none of tokenizer\.json"):
        dpo.load_tokenizer(str(tmp_path), None)


def test_the_cache_of_compiled_programs_is_private(tmp_path):
    folder = tmp_path / "easydel" / "xla"
    folder.mkdir(parents=True, mode=0o755)
    code = "import jax; from easydel.scripts.finetune import dpo; dpo.keep_compiled_programs(); "
    code += "print(jax.config.jax_compilation_cache_dir)"
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


class FakeTrainer:
    """Stands for DPOTrainer and keeps what it was made with."""

    made: dict

    def __init__(self, **parts):
        type(self).made = parts

    def train(self):
        return SimpleNamespace(summary="loss 0.5000", steps=1, skipped_steps=0)


class Loaded(str):
    """A model by its name, as far as the command line looks at it."""

    lora = None


@pytest.fixture
def loads(monkeypatch, tmp_path):
    """Replaces loading and training; gives the names that were loaded, in order, and two data files."""
    names = []

    def load_model(run, config, name, revision):
        names.append(f"{name} at {revision}" if revision else name)
        return Loaded(names[-1])

    monkeypatch.setattr(dpo, "load_model", load_model)
    monkeypatch.setattr(dpo, "load_tokenizer", lambda name, revision: names.append(f"tokenizer {name}"))
    monkeypatch.setattr(easydel, "DPOTrainer", FakeTrainer, raising=False)
    for name, prompt in (("train", "a"), ("eval", "b")):
        row = {"prompt": prompt, "chosen": "yes", "rejected": "no"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
    return SimpleNamespace(names=names, train=str(tmp_path / "train.jsonl"), eval=str(tmp_path / "eval.jsonl"))


def test_a_reference_that_is_the_model_itself_is_not_loaded_twice(loads):
    common = ["--repo_id", "model", "--dataset_name", loads.train, "--no_compilation_cache"]
    assert dpo.main([*common, "--reference_model_repo_id", "model"]) == 0
    assert loads.names == ["tokenizer model", "model"]
    assert FakeTrainer.made["reference_model"] is None
    assert FakeTrainer.made["eval_dataset"] is None


def test_a_reference_that_is_the_model_at_another_revision_is_loaded(loads):
    common = ["--repo_id", "model", "--dataset_name", loads.train, "--no_compilation_cache"]
    assert dpo.main([*common, "--revision", "v2", "--reference_model_repo_id", "model"]) == 0
    assert loads.names == ["tokenizer model", "model at v2", "model"]
    assert FakeTrainer.made["model"] == "model at v2"
    assert FakeTrainer.made["reference_model"] == "model"


def test_the_base_of_adapters_as_reference_is_not_loaded_twice(loads, monkeypatch):
    adapted = SimpleNamespace(lora="some", origin=SimpleNamespace(name="base"), without_adapters=lambda: "bare")
    monkeypatch.setattr(dpo, "load_model", lambda run, config, name, revision: adapted)
    common = ["--repo_id", "adapters", "--dataset_name", loads.train, "--no_compilation_cache"]
    assert dpo.main([*common, "--reference_model_repo_id", "base"]) == 0
    assert FakeTrainer.made["reference_model"] == "bare"


def test_settings_of_adapters_are_flags_and_keep_the_base_in_the_dtype_of_the_computation(monkeypatch):
    flags = [
        "--lora_rank",
        "8",
        "--lora_alpha",
        "16",
        "--lora_dropout",
        "0.05",
        "--columns",
        "prompt=question",
        "chosen=best",
        "--lora_target_modules",
        "q_proj,v_proj",
    ]
    run, config = dpo.parse([*SOMETHING, *flags, "--use_dora", "--use_rslora", "--quantization", "nf4"])
    assert (config.lora_rank, config.lora_alpha, config.lora_dropout) == (8, 16.0, 0.05)
    assert config.lora_target_modules == ["q_proj", "v_proj"]
    assert config.columns == {"prompt": "question", "chosen": "best"}
    assert (config.use_dora, config.use_rslora, run.quantization) == (True, True, "nf4")
    asked = {}
    monkeypatch.setattr(
        easydel.AutoEasyDeLModelForCausalLM, "from_pretrained", lambda name, **options: asked.update(options)
    )
    for given, dtype in ((["--dtype", "bfloat16"], "bfloat16"), (["--param_dtype", "float16"], "float16")):
        run, config = dpo.parse([*SOMETHING, "--lora_rank", "8", *given])
        dpo.load_model(run, config, "model", None)
        assert asked["param_dtype"] == dtype
    dpo.load_model(*dpo.parse([*SOMETHING, "--dtype", "bfloat16"]), "model", None)
    assert asked["param_dtype"] == "float32"


def test_reference_tokenizer_and_evaluation_data_of_their_own_are_loaded(loads, capsys):
    argv = ["--repo_id", "model", "--dataset_name", loads.train, "--eval_dataset_name", loads.eval]
    argv += ["--reference_model_repo_id", "other", "--processor_repo_id", "words", "--no_compilation_cache"]
    assert dpo.main(argv) == 0
    assert loads.names == ["tokenizer words", "model", "other"]
    assert FakeTrainer.made["reference_model"] == "other"
    assert [row["prompt"] for row in FakeTrainer.made["train_dataset"]] == ["a"]
    assert [row["prompt"] for row in FakeTrainer.made["eval_dataset"]] == ["b"]
    assert capsys.readouterr().out == ""  # the trainer says what there is to say


def test_a_data_error_in_training_is_reported_like_any_other(loads, monkeypatch, capsys):
    def fail(self):
        raise DataError("row 3 has no 'chosen'.")

    monkeypatch.setattr(FakeTrainer, "train", fail)
    assert dpo.main(["--repo_id", "m", "--dataset_name", loads.train, "--no_compilation_cache"]) == 2
    where = f"Rows count from 0; train_dataset is split train of {loads.train}."
    assert capsys.readouterr().err == f"error: row 3 has no 'chosen'. {where}\n"


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit):
        dpo.main(["--version"])
    assert capsys.readouterr().out == f"easydel-dpo {easydel.__version__}\n"


def test_a_run_that_a_signal_ended_after_it_was_saved_has_a_status_of_its_own(tmp_path, monkeypatch, capsys):
    def train(self: DPOTrainer) -> None:
        raise Interrupted("SIGTERM", "after step 3 of 75, which is saved.")

    monkeypatch.setattr(DPOTrainer, "train", train)
    before = signal.getsignal(signal.SIGINT)
    argv = ["--save_directory", str(tmp_path), "--no_compilation_cache", "--sharding_axis", "1,1,1,1,1"]
    assert dpo.main(argv) == 75
    assert capsys.readouterr().err == "SIGTERM ended the run after step 3 of 75, which is saved.\n"
    assert signal.getsignal(signal.SIGINT) is before  # the process is not the command line's own


def test_an_incomplete_address_of_the_other_processes_is_one_line(tmp_path, capsys):
    assert dpo.main(["--save_directory", str(tmp_path), "--num_processes", "2"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: coordinator_address = None, num_processes = 2, process_id = None: all three are ")
    assert message.count("\n") == 1
