"""The model of a checkpoint is the one that the run would have saved there, whatever of it was trained."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import pytest

import easydel as ed
from easydel.errors import ConfigError, WeightsError
from easydel.models.causal_lm import CausalLM
from easydel.scripts.checkpoint import main
from easydel.trainers.checkpoint_model import checkpoint_model
from oracles.loaded import load
from oracles.runs import id_rows, same_bits, tiny_model
from oracles.tiny import ONE_DEVICE

LORA = {"lora_rank": 2, "lora_target_modules": ["q_proj", "down_proj"]}
ONE_LAYER_FROZEN = {"frozen_parameters": r"layers\.0\."}
HABITS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # how the model is loaded, how it is trained
    "all weights": ({}, {}),
    "all weights in bfloat16": ({"param_dtype": "bfloat16"}, {}),
    "new adapters": ({}, LORA),
    "new adapters with dora": ({}, LORA | {"use_dora": True}),
    "adapters on a quantized base": ({"quantization": "nf4"}, LORA),
    "a frozen layer": ({}, ONE_LAYER_FROZEN),
    "a frozen embedding": ({}, {"frozen_parameters": "embed"}),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_model(num_hidden_layers=2).save_pretrained(folder, progress_bar_type="none")
    return folder


def model_at(path: Path, base: Path | None = None) -> CausalLM:
    """Returns the model of a checkpoint, on one device as the trained ones are."""
    return checkpoint_model(path, base=base and str(base), sharding_axis_dims=ONE_DEVICE).model


def train(folder: Path, model: CausalLM, **options: Any) -> ed.DPOTrainer:
    settings = {"total_batch_size": 4, "learning_rate": 1e-2, "max_length": 32, "progress_bar_type": "none"}
    settings["max_training_steps"] = 2
    arguments = ed.DPOConfig(save_directory=str(folder), **settings | options)
    trainer = ed.DPOTrainer(arguments=arguments, model=model, train_dataset=id_rows(8))
    trainer.train()
    return trainer


@pytest.mark.parametrize("habit", HABITS)
def test_the_model_of_the_last_checkpoint_is_the_one_that_was_trained(tmp_path, base, habit):
    loading, options = HABITS[habit]
    trained = train(tmp_path, load(base, **loading), **options).model
    found = model_at(tmp_path / "dpo" / "checkpoints" / "2")
    assert same_bits(found.params, trained.params)
    assert (found.lora, found.config, found.origin) == (trained.lora, trained.config, trained.origin)


def test_an_earlier_checkpoint_gives_what_a_shorter_run_gives(tmp_path, base):
    train(tmp_path / "long", load(base), save_steps=1, scheduler="constant")
    short = train(tmp_path / "short", load(base), scheduler="constant", max_training_steps=1).model
    assert same_bits(model_at(tmp_path / "long" / "dpo" / "checkpoints" / "1").params, short.params)


def test_a_loss_of_the_user_need_not_be_there(tmp_path, base):
    def squared(policy, reference, lengths, *, beta):
        return ((policy - reference)[:, 0] - (policy - reference)[:, 1] - 1) ** 2

    trained = train(tmp_path, load(base), loss_type=[squared, "sft"], loss_weights=[1, 0.5])
    found = checkpoint_model(tmp_path / "dpo" / "checkpoints" / "2", sharding_axis_dims=ONE_DEVICE)
    assert same_bits(found.model.params, trained.model.params)
    assert found.config.to_dict() == trained.arguments.to_dict()


@pytest.mark.parametrize("read", [True, False], ids=["read from a folder", "made in memory"])
def test_adapters_that_the_model_came_with_are_those_of_the_checkpoint(tmp_path, base, read):
    model = load(base).apply_lora(2, target_modules=["q_proj"], use_rslora=True, seed=5)
    if read:
        model.save_pretrained(tmp_path / "adapters", progress_bar_type="none")
        model = load(tmp_path / "adapters")
    trained = train(tmp_path, model).model
    found = model_at(tmp_path / "dpo" / "checkpoints" / "2")
    assert same_bits(found.params, trained.params)
    assert found.lora == trained.lora


def test_all_weights_need_neither_the_base_nor_the_place_of_the_run(tmp_path, base):
    moved = shutil.copytree(base, tmp_path / "moved")
    trained = train(tmp_path, load(moved)).model
    shutil.rmtree(moved)
    (tmp_path / "dpo").rename(tmp_path / "elsewhere")
    assert same_bits(model_at(tmp_path / "elsewhere" / "checkpoints" / "2").params, trained.params)


def test_a_base_that_moved_can_be_named_and_another_is_refused(tmp_path, base):
    moved = shutil.copytree(base, tmp_path / "before")
    trained = train(tmp_path, load(moved), **ONE_LAYER_FROZEN).model
    other, path = tmp_path / "other", tmp_path / "dpo" / "checkpoints" / "2"
    moved.rename(tmp_path / "after")
    tiny_model(seed=1, num_hidden_layers=2).save_pretrained(other, progress_bar_type="none")
    assert same_bits(model_at(path, tmp_path / "after").params, trained.params)
    with pytest.raises(ConfigError, match=r"other is not the model that the run in .*dpo started from: weights that"):
        model_at(path, other)


def test_a_base_that_was_made_in_memory_has_to_be_named(tmp_path):
    train(tmp_path, tiny_model(), **LORA)
    with pytest.raises(ConfigError, match=r"made in memory: save that model .* name it with --repo_id"):
        checkpoint_model(tmp_path / "dpo" / "checkpoints" / "2")


def test_a_folder_that_is_not_a_checkpoint_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"is not a checkpoint of a run: give <save_directory>/<model_name>/checkp"):
        checkpoint_model(tmp_path)


def test_a_step_without_a_checkpoint_is_told_those_that_have_one(tmp_path, base):
    train(tmp_path, load(base), save_steps=1)
    with pytest.raises(ConfigError, match=r"7 is not a checkpoint .* /\S+/dpo/checkpoints holds those of steps 1, 2\."):
        checkpoint_model(tmp_path / "dpo" / "checkpoints" / "7")


def test_a_checkpoint_may_be_named_by_a_link(tmp_path, base):
    trained = train(tmp_path, load(base)).model
    (tmp_path / "link").symlink_to(tmp_path / "dpo" / "checkpoints" / "2")
    assert same_bits(model_at(tmp_path / "link").params, trained.params)


def test_settings_of_a_newer_version_are_refused_only_where_they_decided_numbers(tmp_path, base):
    trained, run = train(tmp_path, load(base)).model, tmp_path / "dpo"
    with (run / "config.yaml").open("a", encoding="utf-8") as file:
        file.write("cowbell: 3\n")
    assert same_bits(model_at(run / "checkpoints" / "2").params, trained.params)
    recorded = json.loads((run / "fingerprints.json").read_text())
    (run / "fingerprints.json").write_text(json.dumps(recorded | {"options": ["cowbell"]}))
    with pytest.raises(ConfigError, match=r"it was trained with cowbell = 3, which .*Take easydel-dpo \d"):
        model_at(run / "checkpoints" / "2")


def test_a_base_named_for_weights_that_were_all_trained_is_where_its_license_lies(tmp_path, base):
    train(tmp_path, load(base))
    path = tmp_path / "dpo" / "checkpoints" / "2"
    assert model_at(path).origin.folder == base
    assert model_at(path, shutil.copytree(base, tmp_path / "moved")).origin.folder == tmp_path / "moved"
    with pytest.raises(WeightsError, match="does not exist"):
        model_at(path, tmp_path / "absent")


def test_the_license_is_found_from_any_working_directory(tmp_path, base, monkeypatch):
    shutil.copytree(base, tmp_path / "base")
    (tmp_path / "base" / "LICENSE").write_text("as you like")
    (tmp_path / "base" / "README.md").write_text("---\nlicense: mit\n---\n")
    monkeypatch.chdir(tmp_path)
    train(tmp_path, load(Path("base")))
    monkeypatch.chdir("/")
    assert main([str(tmp_path / "dpo" / "checkpoints" / "2"), "--to", str(tmp_path / "made")]) == 0
    assert (tmp_path / "made" / "LICENSE").read_text() == "as you like"
    assert "license: mit" in (tmp_path / "made" / "README.md").read_text()


def test_a_run_of_an_older_version_says_how_to_get_what_it_lacks(tmp_path, base):
    train(tmp_path, load(base))
    (tmp_path / "dpo" / "model.json").unlink()
    with pytest.raises(ConfigError, match=r"has no model\.json, .* Continue it with --resume auto"):
        checkpoint_model(tmp_path / "dpo" / "checkpoints" / "2")


def test_the_weights_lie_on_all_devices_of_the_process(tmp_path, base):
    train(tmp_path, load(base))
    found = checkpoint_model(tmp_path / "dpo" / "checkpoints" / "2").model
    assert found.params["embedding"].sharding.device_set == set(jax.devices())
