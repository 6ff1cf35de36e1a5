"""Model folders: what they hold is known before weights are read, and each of their files is read once."""

import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from easydel.errors import ConfigError, WeightsError
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.models.folders import ModelFolder, find_model, local_model
from easydel.scripts.finetune import dpo
from easydel.weights.model_files import read_folder
from easydel.weights.safetensors import same_bytes
from oracles.cases import CASES
from oracles.folders import tensors_of, write_model, write_tensors
from oracles.folders_of_adapters import write_adapters
from oracles.loaded import load
from oracles.tokenizers import tiny_tokenizer

ONE = (1, 1, 1, 1, 1)

SOURCE = CASES["llama-gqa"]
ROWS = [{"prompt": "sky", "chosen": "blue", "rejected": "red"}] * 2


@pytest.fixture
def model(tmp_path) -> Path:
    folder = write_model(tmp_path / "model", SOURCE)
    (folder / "generation_config.json").write_text('{"eos_token_id": 2}')
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def opened(monkeypatch) -> Counter[Path]:
    """How often each file was read by `pathlib`, as this package opens files; transformers has the built-in open."""
    found = Counter[Path]()
    real = io.open

    def counted(file, mode="r", *args, **kwargs):
        found[Path(file)] += "r" in mode
        return real(file, mode, *args, **kwargs)

    monkeypatch.setattr(io, "open", counted)
    return found


def run(tmp_path, *flags: str) -> int:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(map(json.dumps, ROWS)))
    argv = ["--dataset_name", str(rows), "--save_directory", str(tmp_path / "runs"), "--max_training_steps", "1"]
    return dpo.main([*argv, "--no_compilation_cache", "--sharding_axis", "1,1,1,1,1", *flags])


def test_a_command_line_reads_each_file_of_a_model_once(model, tmp_path, opened):
    assert run(tmp_path, "--repo_id", str(model), "--reference_model_repo_id", str(model)) == 0
    assert {opened[model / name] for name in ("config.json", "generation_config.json")} == {1}
    assert (tmp_path / "runs" / "dpo" / "model" / "config.json").is_file()


def test_a_command_line_reads_each_file_of_adapters_and_of_their_base_once(model, tmp_path, opened):
    adapters = write_adapters(tmp_path / "adapters", "lora", base_model_name_or_path=str(model))
    assert run(tmp_path, "--repo_id", str(adapters), "--processor_repo_id", str(model)) == 0
    assert opened[adapters / "adapter_config.json"] == 1
    assert {opened[model / name] for name in ("config.json", "generation_config.json")} == {1}


def test_a_folder_that_was_opened_is_not_opened_again(model):
    folder = find_model(model, None, None)
    assert local_model(folder) is folder
    assert AutoEasyDeLModelForCausalLM.from_pretrained(folder).config is folder.config
    assert folder.generation == {"eos_token_id": 2}
    assert folder.written == SOURCE


def test_a_folder_is_known_by_the_name_that_it_was_asked_for_by(model, monkeypatch):
    monkeypatch.setenv("HOME", str(model.parent))
    assert find_model("~/model", None, None) == ModelFolder(model, "~/model")
    assert AutoEasyDeLModelForCausalLM.from_pretrained("~/model").origin.name == "~/model"


def test_what_can_only_be_a_path_is_not_looked_for_on_the_hub(tmp_path):
    for name in (tmp_path / "none", "./none", "none/", "a/b/c", "~/none-such"):
        with pytest.raises(WeightsError, match="does not exist"):
            local_model(name)
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="is a file; a model or tokenizer is a folder"):
        local_model(tmp_path / "file")
    assert local_model("owner/name") is None


def test_a_revision_of_a_folder_is_an_error_before_anything_is_loaded(model, tmp_path, monkeypatch, capsys):
    with pytest.raises(ConfigError, match=r"revision = 'v2' has no effect on the folder "):
        load(model, revision="v2")
    monkeypatch.setattr(dpo, "load_tokenizer", lambda *given: pytest.fail("loaded"))
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    flags = ["--repo_id", str(model), "--revision", "v2", "--dataset_name", str(tmp_path / "a.jsonl")]
    assert dpo.main([*flags, "--save_directory", str(tmp_path)]) == 2
    assert "revision = 'v2' has no effect on the folder" in capsys.readouterr().err


def test_a_revision_that_adapters_name_is_of_a_base_on_the_hub(model, tmp_path):
    load(write_adapters(tmp_path / "adapters", "lora", base_model_name_or_path=str(model), revision="main"))


def test_a_folder_says_whether_it_holds_a_model_adapters_or_both(model, tmp_path):
    adapters = write_adapters(tmp_path / "adapters", "lora", base_model_name_or_path=str(model))
    (adapters / "config.json").write_text("{}")  # as some programs leave beside adapters
    both = write_adapters(tmp_path / "both", "lora", base_model_name_or_path="owner/name")
    write_model(both, SOURCE)
    held = [ModelFolder(path, "") for path in (model, adapters, both)]
    assert [(each.has_model, each.has_adapters, each.is_adapter) for each in held] == [
        (True, False, False),
        (False, True, True),
        (True, True, False),
    ]
    assert held[1].base == ModelFolder(model, str(model))
    assert held[2].base == "owner/name"


def test_a_check_finds_what_is_wrong_with_a_model_and_with_the_base_of_adapters(model, tmp_path):
    adapters = write_adapters(tmp_path / "adapters", "lora", base_model_name_or_path=str(model))
    for folder in (model, adapters):
        ModelFolder(folder, "").check()
    (model / "config.json").write_text(json.dumps({**SOURCE, "hidden_act": "sily"}))
    for folder in (model, adapters):
        with pytest.raises(ConfigError, match=r"model/config\.json: hidden_act 'sily' is not supported"):
            ModelFolder(folder, "").check()
    (model / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"model is not a model folder: it has no config\.json"):
        ModelFolder(adapters, "").check()


def test_weights_that_are_quantized_already_are_refused_before_they_are_read(model):
    (model / "config.json").write_text(json.dumps({**SOURCE, "quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(ConfigError, match=r"'quant_method': 'gptq'.* quantizes it while it is read"):
        ModelFolder(model, "").check()


def test_ends_of_answers_that_are_no_token_ids_are_an_error_that_names_the_file(tmp_path):
    folder = write_model(tmp_path, CASES["llama-gqa"])
    for wrong in ("</s>", True, [1.5], {"id": 2}):
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": wrong}))
        with pytest.raises(ConfigError, match=r"generation_config\.json: eos_token_id is .* an integer, or a list"):
            load(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [-1, 2, 10**6]}))
    assert load(folder).eos_token_ids == (2,)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("glm4_moe", ("model.layers.3.eh_proj.weight", "model.layers.3.mlp.experts.0.up_proj.weight")),
        ("qwen3-5", ("mtp.fc.weight", "mtp.layers.0.self_attn.q_proj.weight")),
    ],
)
def test_tensors_that_predict_more_tokens_ahead_are_left_and_written_as_they_are(tmp_path, name, more):
    """The checkpoints of GLM 4.5 and Qwen 3.5 have them; `transformers` leaves them out of the causal model."""
    source = CASES[name]
    tensors = tensors_of(source) | {each: np.arange(6, dtype=np.float16).reshape(2, 3) for each in more}
    (tmp_path / "config.json").write_text(json.dumps(source), encoding="utf-8")
    write_tensors(tmp_path, tensors)
    load(tmp_path).save_pretrained(tmp_path / "out")
    written = read_folder(tmp_path / "out")
    assert written.keys() == tensors.keys()
    assert all(same_bytes(written[each], read_folder(tmp_path)[each]) for each in more)
