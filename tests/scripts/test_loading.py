"""What a command line checks before it loads a model."""

import json

import pytest

from easydel.errors import ConfigError, WeightsError
from easydel.scripts.loading import axis_dims, find_model, load_tokenizer
from oracles.cases import CASES
from oracles.folders import write_model
from oracles.tokenizers import tiny_tokenizer


def test_mesh_sizes_are_five_integers():
    assert axis_dims("1,-1,1,2,1") == (1, -1, 1, 2, 1)
    for text in ("", "1,-1", "1,-1,1,1,x", "1,-1,1,1,1,1"):
        with pytest.raises(ConfigError, match=f"sharding_axis = '{text}' must be five integers, dp,fsdp,ep,tp,sp"):
            axis_dims(text)


def test_a_folder_of_a_model_is_checked_and_a_name_on_the_hub_is_not(tmp_path):
    assert find_model("owner/model") == "owner/model"
    find_model(str(write_model(tmp_path / "model", CASES["llama-gqa"])))
    (tmp_path / "empty").mkdir()
    with pytest.raises((ConfigError, WeightsError), match=r"config\.json"):
        find_model(str(tmp_path / "empty"))


def test_a_folder_without_tokenizer_files_or_with_damaged_ones_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"has no tokenizer \(tokenizer\.json, .* --processor_repo_id"):
        load_tokenizer(str(tmp_path), None)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"cannot load a tokenizer from .*name another with --processor_repo_id"):
        load_tokenizer(str(tmp_path), None)


def test_the_template_of_a_processor_is_used_where_the_tokenizer_has_none(tmp_path):
    tiny_tokenizer().save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path), None).chat_template is None
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    with pytest.warns(
        UserWarning, match=r"using the chat template of .*chat_template\.json, as the tokenizer has none"
    ):
        assert load_tokenizer(str(tmp_path), None).chat_template == "{{ messages }}"
