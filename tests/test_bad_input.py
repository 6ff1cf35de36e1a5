"""What a user gets wrong is one line on stderr: what, where, the value, the limit, the way out. Nothing compiles."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from easydel.data.source import load_rows
from easydel.models import auto
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.scripts.finetune import dpo
from easydel.scripts.loading import TOKENIZER_FILES
from easydel.trainers import memory_estimate
from easydel.trainers.config import DPOConfig
from easydel.trainers.dpo import DPOTrainer
from oracles.cases import CASES
from oracles.disk import full_disk
from oracles.folders import tensors_of, write_model, write_tensors
from oracles.tokenizers import tiny_tokenizer

SOURCE = CASES["llama-gqa"]
GOOD = {"prompt": "sky", "chosen": "blue", "rejected": "red"}
IDS = {"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]}
CHAT = {
    "prompt": [{"role": "user", "content": "sky"}],
    "chosen": [{"role": "assistant", "content": "blue"}],
    "rejected": [{"role": "assistant", "content": "red"}],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A folder with a tiny model and its tokenizer."""
    folder = write_model(tmp_path_factory.mktemp("models") / "good", SOURCE)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def message_of(model, tmp_path, monkeypatch, capsys) -> Callable[..., str]:
    """Runs the command line, which must end with one line on stderr before training begins; returns the line."""
    monkeypatch.setattr(DPOTrainer, "train", lambda self: pytest.fail("training began"))

    def run(*flags: str, rows: Path | None = None, repo: Path | str = model) -> str:
        rows = rows or write_rows(tmp_path / "good.jsonl", GOOD)
        argv = ["--repo_id", str(repo), "--dataset_name", str(rows), "--save_directory", str(tmp_path / "runs")]
        assert dpo.main([*argv, "--no_compilation_cache", "--sharding_axis", "1,1,1,1,1", *flags]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    return run


def write_rows(path: Path, *rows: Any) -> Path:
    """Writes rows as JSON lines; a text is a line as it is."""
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def trainer(folder: Path, rows: Any, **settings: Any) -> DPOTrainer:
    model = AutoEasyDeLModelForCausalLM.from_pretrained(folder, dtype="float32", sharding_axis_dims=(1, 1, 1, 1, 1))
    return DPOTrainer(
        DPOConfig(**settings), model, processing_class=AutoTokenizer.from_pretrained(folder), train_dataset=rows
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "chosen": "b"}, r"row 1 has no 'rejected'\. Its columns: 'prompt', 'chosen'"),
        (
            {"prompt": "a", "chosn": "b", "rejected": "c"},
            "row 1 has no 'chosen'.* use --columns chosen=chosn, in Python",
        ),
        (GOOD | {"prompt": ""}, r"row 1: 'prompt' is empty, and 'chosen' and 'rejected' have no common beginning"),
        (GOOD | {"context": "It is day."}, "row 1: the column 'context' could change the meaning of the row"),
        (GOOD | {"chosen": 3}, r"row 1: 'chosen' is 3 \(int\); it must be a string or a list of messages"),
        (CHAT, "row 1 holds conversations, but the tokenizer has no chat template"),
        (IDS | {"chosen_ids": [7, 48]}, "row 1: chosen holds the token id 48, but the model knows 48 tokens, 0 to 47"),
        (IDS | {"chosen_ids": [-1]}, "row 1: chosen holds the token id -1; ids start at 0"),
        (IDS | {"prompt_ids": "1 2"}, "row 1: 'prompt_ids' must be a list of integers"),
        (GOOD | {"weight": -1}, r"row 1: 'weight' is -1 \(int\); it must be a finite number of at least 0, or None"),
        (IDS | {"margin": "big"}, r"row 1: 'margin' is 'big'; it must be a finite number, or None for 0\.0"),
        (
            {"conversations": [{"from": "bingo", "value": "sky"}], "chosen": "blue", "rejected": "red"},
            "row 1: 'conversations' message 0: the role 'bingo' is not one of 'user', 'human', 'prompter', 'assistant'",
        ),
    ],
)
def test_a_row_is_named_with_its_field_and_its_dataset(message_of, tmp_path, row, message):
    rows = write_rows(tmp_path / "rows.jsonl", GOOD, row)
    where = rf"Rows count from 0; train_dataset is split train of {re.escape(str(rows))}\."
    assert re.search(rf"train_dataset: {message}.*{where}", message_of(rows=rows))
    where = rf"eval_dataset the only split of {re.escape(str(rows))}\."
    assert re.search(rf"eval_dataset: {message}.*{where}", message_of("--eval_dataset_name", str(rows)))


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("a.jsonl", [], r"a\.jsonl' has no rows in split 'train'"),
        ("a.jsonl", [GOOD, '{"prompt": "a",'], r"a\.jsonl, line 2, column 16: .* Each line must be one JSON object"),
        ("a.jsonl", [GOOD, ["sky", "blue"]], r"a\.jsonl, line 2 is of type list; each line must be one JSON object"),
        ("a.jsonl", ['"sky"'], r"a\.jsonl, line 1 is of type str; each line must be one JSON object"),
        ("a.txt", ["sky"], r"a\.txt: cannot read files of this type; expected \.json"),
        ("a.csv", ["prompt,chosen,rejected", "sky,blue"], r"a\.csv, line 2: .* fewer fields than the header"),
    ],
)
def test_a_file_is_named_with_its_line(message_of, tmp_path, name, lines, message):
    assert re.search(message, message_of(rows=write_rows(tmp_path / name, *lines)))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--max_lenght 5", "unknown flag --max_lenght. Did you mean --max_length?"),
        ("--loss_type sigmiod", "loss_type = 'sigmiod' is not one of 'sigmoid',"),
        ("--loss_type my.losses:wpo", "A function cannot be read from a string: import it in Python"),
        ("--optimizer adam", "Did you mean 'adamw'?"),
        ("--attn_mechanism vanila", "attn_mechanism 'vanila' is not supported. Did you mean 'vanilla'? Supported:"),
        ("--gradient_checkpointing nothing_savable", "Did you mean 'nothing_saveable'?"),
        ("--beta 0", "beta = 0.0 must be above 0."),
        ("--beta -1", "beta = -1.0 must be above 0."),
        ("--label_smoothing 0.7", "label_smoothing = 0.7 must be at least 0 and below 0.5."),
        ("--max_length 1", "max_length = 1 must be at least 2."),
        ("--max_length 64 --max_prompt_length 64", "max_prompt_length = 64 must be below max_length = 64"),
        ("--total_batch_size 16 --gradient_accumulation_steps 3", "total_batch_size = 16 must be divisible by"),
        ("--sharding_axis 1,9,1,1,1", "needs 9 devices; 8 are here"),
        ("--dataset_name nowhere.jsonl", "file or folder 'nowhere.jsonl' does not exist."),
        ("--dataset_split tset", "has no split 'tset', only 'train'. A file or glob has one split: train."),
        ("--dataset_split train[:x]", "split 'train[:x]' is invalid. Write a name such as 'train'"),
        ("--eval_dataset_split test", "has no split 'test', only 'train'."),
        ("--repo_id ./nowhere", "nowhere does not exist. A Hugging Face Hub id looks like 'owner/name'."),
        ("--reference_model_repo_id ./nowhere", "nowhere does not exist."),
        ("--processor_repo_id ./nowhere", "nowhere does not exist."),
        ("--config nowhere.yaml", "Cannot read the configuration 'nowhere.yaml': No such file or directory."),
    ],
)
def test_a_setting_is_named_with_its_value_and_its_limit(message_of, flags, message):
    assert message in message_of(*flags.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("beeta: 0.1", r"run\.yaml: unknown option 'beeta'\. Did you mean 'beta'\?"),
        ("beta: [", r"run\.yaml is not YAML: "),
    ],
)
def test_a_configuration_file_is_named_with_its_mistake(message_of, tmp_path, text, message):
    (tmp_path / "run.yaml").write_text(text)
    assert re.search(message, message_of("--config", str(tmp_path / "run.yaml")))


def change_json(name: str, **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        values = json.loads((folder / name).read_text()) | changes
        (folder / name).write_text(json.dumps(values))

    return change


def change_tensors(change: Callable[[dict[str, np.ndarray]], Any]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        tensors = tensors_of(SOURCE)
        change(tensors)
        write_tensors(folder, tensors)

    return write


def shorten(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])


def add_tokens(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<{number}>" for number in range(40)])
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "is not a model folder: it has no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "config.json, line 1, column 2: not valid JSON"),
        (change_json("config.json", model_type="gpt_bigcode"), "model_type 'gpt_bigcode' is not supported. Supported:"),
        (change_json("config.json", vocab_size="many"), "config.json: vocab_size is 'many'; it must be an integer"),
        (change_json("config.json", hidden_size=None), "a llama model lacks hidden_size"),
        (lambda f: (f / "model.safetensors").unlink(), "holds no weights: neither model.safetensors nor"),
        (
            lambda f: (f / "model.safetensors").rename(f / "model.Q4_K_M.gguf"),
            "holds model.Q4_K_M.gguf but no model.safetensors. GGUF is a format that is not read",
        ),
        (
            change_json("config.json", quantization_config={"load_in_8bit": True}),
            "quantized already (quantization_config: {'load_in_8bit': True}), in a format that is not read.",
        ),
        (
            change_tensors(lambda t: t.update({"model.layers.0.mlp.up_proj.qweight": np.ones(3, np.int32)})),
            "Such tensors are those of a quantized format (GPTQ or AWQ), which is not read. Load the original",
        ),
        (shorten, "model.safetensors is cut short: 70270 bytes found, 70320 expected"),
        (change_tensors(lambda t: t.pop("model.norm.weight")), "config.json: 1 missing (model.norm.weight)."),
        (change_tensors(lambda t: t.update(extra=np.ones(3))), "config.json: 1 unexpected (extra)."),
        (
            change_tensors(lambda t: t.update({"model.norm.weight": np.ones(3, np.float32)})),
            "model.norm.weight has shape [3]; [32] follows from config.json",
        ),
        (
            lambda f: [(f / n).unlink() for n in TOKENIZER_FILES if (f / n).exists()],
            "has no tokenizer (tokenizer.json, ",
        ),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "cannot load a tokenizer from"),
        (change_json("tokenizer_config.json", eos_token=None), "damaged: the tokenizer has no eos_token"),
        (change_json("tokenizer_config.json", eos_token=None, pad_token="<s>"), "the tokenizer has no eos_token"),
        (add_tokens, "the tokenizer has 74 ids, but the model's embedding has 48 rows"),
    ],
)
def test_a_model_folder_is_named_with_what_is_wrong_in_it(message_of, model, tmp_path, damage, message):
    folder = tmp_path / "damaged"
    shutil.copytree(model, folder)
    damage(folder)
    assert message in message_of(repo=folder)


def test_a_file_in_place_of_a_model_folder_is_an_error(message_of, model):
    assert "config.json is a file; a model or tokenizer is a folder" in message_of(repo=model / "config.json")


def test_a_reference_of_another_vocabulary_is_an_error(message_of, tmp_path):
    other = write_model(tmp_path / "other", SOURCE | {"vocab_size": 56})
    assert "has 56 token ids and the policy 48" in message_of("--reference_model_repo_id", str(other))


def test_too_little_memory_for_the_weights_is_found_before_they_are_read(message_of, monkeypatch):
    monkeypatch.setattr(auto, "available_bytes", lambda devices: 1000)
    monkeypatch.setattr(auto, "load_params", lambda *rest, **named: pytest.fail("weights were read"))
    assert re.search(r"not enough memory: .*\(weights of .*good in float32 .* Take a smaller model", message_of())


def test_too_little_memory_for_training_is_found_before_it_begins(message_of, monkeypatch):
    monkeypatch.setattr(memory_estimate, "available_bytes", lambda devices: 1000)
    assert re.search(r"not enough memory: .*optimizer .* Raise gradient_accumulation_steps", message_of())


@pytest.mark.parametrize("place", ["taken", "taken/below"])
def test_a_run_folder_that_cannot_be_made_is_found_before_anything_is_loaded(message_of, tmp_path, monkeypatch, place):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setattr(dpo, "load_training", lambda *rest: pytest.fail("data were read"))
    message = message_of("--save_directory", str(tmp_path / place))
    assert re.search(r"the run folder .* cannot be used: .*taken is not a folder\. Set save_directory to", message)


def test_prompts_that_all_reach_max_length_are_an_error(message_of, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", GOOD, GOOD)
    message = message_of("--max_length", "4", rows=rows)
    assert "no row is left: 0 of 2 rows kept. Dropped: 2 (the prompt alone reaches max_length)" in message
    assert "Raise max_length, now 4; or keep the end of each prompt with max_prompt_length" in message


def test_some_prompts_that_reach_max_length_are_dropped_and_counted(model):
    counts = trainer(model, [GOOD, GOOD | {"prompt": "a long prompt"}], max_length=10).counts["train"]
    assert counts.summary() == "1 of 2 rows kept. Dropped: 1 (the prompt alone reaches max_length)."


def test_equal_completions_are_warned_of_and_counted(model):
    with pytest.warns(UserWarning, match="in 1 of 2 rows chosen and rejected are the same.*; the first is row 1"):
        counts = trainer(model, [GOOD, GOOD | {"rejected": "blue"}]).counts["train"]
    assert counts.identical == 1


@pytest.mark.filterwarnings("always")  # as a user's Python does; the other tests make errors of warnings
def test_a_warning_on_the_command_line_is_one_line_without_code(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(DPOTrainer, "train", lambda self: pytest.fail("stop"))
    rows = write_rows(tmp_path / "rows.jsonl", GOOD, GOOD | {"rejected": "blue"})
    argv = ["--repo_id", str(model), "--dataset_name", str(rows), "--no_compilation_cache"]
    with pytest.raises(pytest.fail.Exception, match="stop"):
        dpo.main([*argv, "--save_directory", str(tmp_path)])
    assert capsys.readouterr().err.startswith("warning: in 1 of 2 rows chosen and rejected are the same tokens")


def test_rows_of_local_files_need_no_datasets_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert load_rows(str(write_rows(tmp_path / "rows.jsonl", GOOD))) == [GOOD]


def test_a_save_that_fails_leaves_the_previous_folder_whole(model, tmp_path):
    policy = AutoEasyDeLModelForCausalLM.from_pretrained(model, sharding_axis_dims=(1, 1, 1, 1, 1))
    policy.save_pretrained(tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    message = r"out could not be written: File too large\. What was there before is whole\."
    with full_disk(), pytest.raises(OSError, match=message):
        policy.save_pretrained(tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert os.listdir(tmp_path) == ["out"]


def test_a_tokenizer_that_cannot_be_saved_leaves_the_previous_folder_whole(model, tmp_path, monkeypatch):
    tuner = trainer(model, [GOOD])
    tuner.save_pretrained(tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert "tokenizer.json" in before

    def fail(folder: str) -> None:
        (Path(folder) / "tokenizer.json").write_text("half")
        raise TypeError("not JSON")

    tuner.processing_class.add_tokens(["qq"])  # its files are no longer those that it came with
    monkeypatch.setattr(tuner.processing_class, "save_pretrained", fail)
    for name in ("out", "new"):
        with pytest.raises(TypeError, match="not JSON"):
            tuner.save_pretrained(tmp_path / name)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert os.listdir(tmp_path) == ["out"]


# In a process of its own: tensorstore's threads go on complaining after the error has been raised and dealt with.
CHECKPOINTS_ON_A_FULL_DISK = """
import shutil, sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from easydel.errors import ConfigError
from easydel.trainers.record.checkpoint import Checkpointer, Progress, Checkpoint, abstract_checkpoint
from easydel.trainers.train_state import RewardMean, TrainState
from oracles.disk import full_disk

def saved(step, size):
    weights = {"w": jnp.asarray(np.random.default_rng(0).random(size), jnp.float32)}
    rewards = RewardMean(jnp.zeros(()), jnp.zeros(()))
    state = TrainState(jnp.asarray(step), weights, (), jax.random.key(0), rewards)
    return Checkpoint(state, Progress(0, step, 0, "", ""), None)

folder = Path(sys.argv[1])
with Checkpointer(folder) as checkpointer:
    checkpointer.save(saved(1, 1000))
    checkpointer.wait()
    with full_disk():
        checkpointer.save(saved(2, 100_000))
        try:
            checkpointer.wait()
        except OSError as error:
            print("raised:", error)
with Checkpointer(folder) as checkpointer:
    print("latest:", checkpointer.latest())
    print("batch:", checkpointer.restore(1, abstract_checkpoint(saved(5, 1000))).progress.batch)
other = folder.with_name("damaged")
shutil.copytree(folder, other)
for file in (other / "1" / "state").glob("ocdbt*/d/*"):
    file.write_bytes(b"")
with Checkpointer(other) as checkpointer:
    try:
        checkpointer.restore(1, abstract_checkpoint(saved(5, 1000)))
    except ConfigError as error:
        print("damaged:", error)
"""


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before_whole(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CHECKPOINTS_ON_A_FULL_DISK, str(tmp_path / "checkpoints")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    raised, latest, batch, damaged = done.stdout.splitlines()
    assert raised.startswith("raised: a checkpoint could not be written to ")
    assert "File too large" in raised
    assert (latest, batch) == ("latest: 1", "batch: 1")
    assert re.search(r"1 is damaged: .* Remove that folder, and resume = 'auto' starts at the beginning", damaged)
