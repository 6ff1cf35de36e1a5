import json
import signal
import sys
from types import SimpleNamespace

import pytest

import easydel
from easydel.errors import ConfigError, DataError, Interrupted
from easydel.scripts.finetune import dpo, models
from easydel.trainers.config import DPOConfig
from easydel.trainers.dpo import DPOTrainer
from easydel.trainers.record.run_folder import hold, open_run_folder
from oracles.runs import id_rows, tiny_model

SOMETHING = ["--repo_id", "model", "--dataset_name", "rows.jsonl"]


@pytest.mark.parametrize("option", ["repo_id", "reference_model_repo_id", "dataset_name", "eval_dataset_name"])
def test_what_lies_in_the_folder_of_an_earlier_run_of_that_name_is_not_read(option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dpo_runs" / "dpo" / "model").mkdir(parents=True)
    named = {"repo_id": "model", "dataset_name": "pairs.jsonl", option: "dpo_runs/dpo/model"}
    assert dpo.main([word for name, value in named.items() for word in (f"--{name}", value)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {option} 'dpo_runs/dpo/model' lies in the folder of this run, dpo_runs/dpo, ")
    assert [path.name for path in (tmp_path / "dpo_runs").iterdir()] == ["dpo"]


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
        ([*SOMETHING, "--sharding_axis", "1,1"], "error: sharding_axis = '1,1' must be five integers"),
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
            "error: --eval_dataset_name: 'b.jsonl' has no name. Give each of several datasets its own name",
        ),
        (
            [*SOMETHING, "--eval_dataset_name", "easy=a.jsonl", "easy=b.jsonl"],
            "error: --eval_dataset_name: two datasets are called 'easy'.",
        ),
        ([*SOMETHING, "--streaming"], "error: --streaming reads pairs during training and does not know how many"),
        (["--config", "missing.yaml"], "error: Cannot read the configuration 'missing.yaml'"),
        (SOMETHING, "error: file or folder 'rows.jsonl' does not exist"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_status_2(argv, message, capsys):
    assert dpo.main([*argv, "--no_compilation_cache"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_a_folder_without_a_tokenizer_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ConfigError, match=r"has no tokenizer \(tokenizer\.json"):
        dpo.load_tokenizer(str(tmp_path), None)


def test_an_error_names_the_datasets_it_speaks_of():
    run = dpo.RunConfig(
        repo_id="model", dataset_name=["a.jsonl", "b.jsonl"], eval_dataset_name=["easy=e.jsonl", "hard=h.jsonl"]
    )
    assert dpo.sources(run) == (
        "train_dataset is split train of each of a.jsonl, b.jsonl, "
        "eval_dataset the only split of each of e.jsonl, h.jsonl"
    )


class FakeTrainer:
    """Stands for DPOTrainer and keeps what it was made with."""

    made: dict

    def __init__(self, **parts):
        type(self).made = parts

    def train(self):
        return SimpleNamespace(summary="loss 0.5000", steps=1, skipped_steps=0, not_written={})


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

    monkeypatch.setattr(models, "load_model", load_model)
    monkeypatch.setattr(dpo, "load_tokenizer", lambda name, revision: names.append(f"tokenizer {name}"))
    monkeypatch.setattr(easydel, "DPOTrainer", FakeTrainer, raising=False)
    for name, prompt in (("train", "a"), ("eval", "b")):
        row = {"prompt": prompt, "chosen": "yes", "rejected": "no"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
    return SimpleNamespace(names=names, train=str(tmp_path / "train.jsonl"), eval=str(tmp_path / "eval.jsonl"))


@pytest.mark.parametrize(
    ("before", "then"),
    [(signal.default_int_handler, signal.SIG_DFL), (signal.SIG_IGN, signal.SIG_IGN)],
    ids=["heard", "ignored"],
)
def test_ctrl_c_ends_a_command_without_a_traceback_unless_it_was_ignored(before, then, monkeypatch):
    found = []
    command = SimpleNamespace(main=lambda words: found.append(signal.getsignal(signal.SIGINT)) or 0)
    monkeypatch.setattr(dpo.importlib, "import_module", lambda name: command)
    monkeypatch.setattr(sys, "argv", ["easydel-dpo", "checkpoint"])
    usual = signal.signal(signal.SIGINT, before)
    try:
        assert dpo.main() == 0
    finally:
        signal.signal(signal.SIGINT, usual)
    assert found == [then]


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
    monkeypatch.setattr(models, "load_model", lambda run, config, name, revision: adapted)
    common = ["--repo_id", "adapters", "--dataset_name", loads.train, "--no_compilation_cache"]
    assert dpo.main([*common, "--reference_model_repo_id", "base"]) == 0
    assert FakeTrainer.made["reference_model"] == "bare"


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
        error = DataError("row 3 has no 'chosen'.")
        error.add_note("What was trained is saved.")
        raise error

    monkeypatch.setattr(FakeTrainer, "train", fail)
    assert dpo.main(["--repo_id", "m", "--dataset_name", loads.train, "--no_compilation_cache"]) == 2
    where = f"Rows count from 0; train_dataset is split train of {loads.train}."
    assert capsys.readouterr().err == f"error: row 3 has no 'chosen'. {where} What was trained is saved.\n"


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
    assert message.startswith("error: coordinator_address = None, num_processes = 2, process_id = None: give all ")
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--beta", "0.3"], "beta was 0.1, is 0.3 now"),
        (["--dtype", "bfloat16"], "dtype was float32, is bfloat16 now"),
        (["--precision", "highest"], "precision was default, is highest now"),
        (["--quantization", "nf4"], "quantization was none, is nf4 now"),
        (["--max_training_steps", "1"], "found a checkpoint of step 2 in"),
    ],
)
def test_another_run_is_found_before_a_row_or_a_model_is_read(flags, message, loads, tmp_path, monkeypatch, capsys):
    arguments = DPOConfig(save_directory=str(tmp_path / "runs"), lora_rank=2)
    run = DPOTrainer(arguments, tiny_model(), train_dataset=id_rows(4))
    with hold(arguments):
        open_run_folder(arguments)
    run._plan.same_run.write(continues=False)
    (arguments.run_folder / "checkpoints" / "2").mkdir(parents=True)
    read: list[str] = []
    usual = dpo.load_training
    monkeypatch.setattr(dpo, "load_training", lambda *given, **named: [read.append("rows"), usual(*given, **named)][1])
    monkeypatch.setattr(dpo, "find_model", lambda name: [read.append(name), name][1])
    common = ["--repo_id", "model", "--dataset_name", loads.train, "--no_compilation_cache", "--resume", "auto"]
    common += ["--save_directory", str(tmp_path / "runs"), "--lora_rank", "2"]
    assert dpo.main([*common, *flags]) == 2
    assert message in capsys.readouterr().err
    assert (read, loads.names) == ([], [])
    assert dpo.main(common) == 0
    assert (read, loads.names) == (["rows", "model"], ["tokenizer model", "model"])
