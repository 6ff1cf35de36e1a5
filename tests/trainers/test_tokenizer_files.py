"""The tokenizer of an export: the files of the base, what the user changed, and the ids of training."""

import json
import shutil

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from easydel.errors import WeightsError
from easydel.scripts.loading import load_tokenizer
from easydel.trainers.tokenizer_files import copy_licenses, write_tokenizer
from oracles.tokenizers import tiny_tokenizer

TEXTS = ["ab cab.", "the sky:\nab ", "<s>x</s>", " a  b", "zz ab<s>"]
TEMPLATE = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
OTHERS = {
    "tokenizer.model": b"\x00sentences",
    "vocab.json": b'{"a":0}',
    "merges.txt": b"#version: 0.2\na b\n",
    "special_tokens_map.json": b'{"bos_token":"<s>",  "eos_token": "</s>", "unk_token": "<unk>"}',
}


@pytest.fixture
def base(tmp_path):
    """A base of the kind that older versions wrote: files that transformers 5 does not write, spaces of its own."""
    folder = tmp_path / "base"
    tiny_tokenizer(chat_template=TEMPLATE).save_pretrained(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "PreTrainedTokenizerFast", "legacy": True, "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))  # in one line
    (folder / "chat_template.jinja").unlink()
    for name, content in OTHERS.items():
        (folder / name).write_bytes(content)
    return folder


def loaded(folder):
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def written(tokenizer, tmp_path, model=None):
    target = tmp_path / "out"
    target.mkdir()
    write_tokenizer(tokenizer, target, model or {})
    again = loaded(target)
    raw = Tokenizer.from_file(str(target / "tokenizer.json"))
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert again(text)["input_ids"] == ids
        assert raw.encode(text).ids == ids
    assert again.chat_template == tokenizer.chat_template
    assert again.special_tokens_map == tokenizer.special_tokens_map
    return target


def test_an_unchanged_tokenizer_is_copied_byte_for_byte(base, tmp_path):
    (base / "model.safetensors").write_bytes(b"no part of it")
    assert files(written(loaded(base), tmp_path, {"model_type": "llama"})) == {
        name: content for name, content in files(base).items() if name != "model.safetensors"
    }


def test_calling_a_tokenizer_does_not_change_it(base, tmp_path):
    tokenizer = loaded(base)
    tokenizer.pad_token = "</s>"
    tokenizer(TEXTS, padding=True, truncation=True, max_length=3)
    tokenizer.pad_token = None
    assert files(written(tokenizer, tmp_path)) == files(base)


def test_a_padding_token_set_in_memory_is_in_the_files_and_all_else_is_as_it_came(base, tmp_path):
    tokenizer = loaded(base)
    tokenizer.pad_token_id = tokenizer.eos_token_id  # as in the tutorial
    target = written(tokenizer, tmp_path)
    before, after = files(base), files(target)
    assert json.loads(after["tokenizer_config.json"]) == json.loads(before["tokenizer_config.json"]) | {
        "pad_token": "</s>"
    }
    assert json.loads(after["special_tokens_map.json"])["pad_token"] == "</s>"
    for name in ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt"):
        assert after[name] == before[name]


@pytest.mark.parametrize("template", ["{{ messages[0].content }}", None, {"default": "{{ 1 }}", "tool_use": "{{ 2 }}"}])
def test_a_chat_template_set_in_memory_replaces_all_that_the_base_had(template, base, tmp_path):
    (base / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    tokenizer = loaded(base)
    tokenizer.chat_template = template
    found = files_of = {path.name for path in written(tokenizer, tmp_path).iterdir()}
    assert "chat_template.json" not in found
    assert ("chat_template.jinja" in files_of) == (template is not None)
    assert {"tokenizer.model", "merges.txt"} <= found


def test_settings_changed_in_memory_are_in_the_export(base, tmp_path):
    tokenizer = loaded(base)
    tokenizer.padding_side, tokenizer.model_max_length = "left", 77
    again = loaded(written(tokenizer, tmp_path))
    assert (again.padding_side, again.model_max_length) == ("left", 77)


def test_added_tokens_are_saved_and_the_old_vocabulary_is_not_left_beside_them(base, tmp_path):
    tokenizer = loaded(base)
    tokenizer.add_tokens(["<think>"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<tool>"]})
    target = written(tokenizer, tmp_path)
    assert loaded(target)("<think><tool>")["input_ids"] == tokenizer("<think><tool>")["input_ids"]
    assert "<tool>" in loaded(target).all_special_tokens
    assert not {"tokenizer.model", "vocab.json", "merges.txt"} & {path.name for path in target.iterdir()}
    config = json.loads((target / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"  # transformers 4 knows no TokenizersBackend
    assert config["additional_special_tokens"] == ["<tool>"]


def test_a_tokenizer_made_in_memory_is_saved(tmp_path):
    written(tiny_tokenizer(chat_template=TEMPLATE), tmp_path)


def test_the_files_of_a_tokenizer_of_the_hub_come_from_its_cache(base, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    snapshots = cache / "models--me--base" / "snapshots"
    shutil.copytree(base, snapshots / "b")
    tiny_tokenizer(bos=False).save_pretrained(snapshots / "a")  # of another commit
    (snapshots / "b" / "NOTICE").write_text("notice")
    tokenizer = loaded(base)
    tokenizer.name_or_path = "me/base"
    assert files(written(tokenizer, tmp_path)) == files(base)


def test_licenses_of_the_base_travel_and_its_code_does_not(tmp_path):
    base, target = tmp_path / "base", tmp_path / "out"
    base.mkdir()
    target.mkdir()
    for name in ("LICENSE", "LICENSE.txt", "NOTICE", "USE_POLICY.md", "modeling_x.py", "notes.txt", "README.md"):
        (base / name).write_text(name)
    copy_licenses(str(base), target)
    assert set(files(target)) == {"LICENSE", "LICENSE.txt", "NOTICE", "USE_POLICY.md"}
    copy_licenses("me/not-here", target)


def test_a_template_that_lies_only_where_processors_keep_theirs_is_read_and_exported(base, tmp_path):
    config = json.loads((base / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (base / "tokenizer_config.json").write_text(json.dumps(config))
    (base / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    with pytest.warns(UserWarning, match=r"using the chat template of .*chat_template\.json"):
        tokenizer = load_tokenizer(str(base), None)
    assert tokenizer.chat_template == TEMPLATE
    assert (written(tokenizer, tmp_path) / "chat_template.jinja").read_text() == TEMPLATE
    (base / "chat_template.json").write_text("{")
    with pytest.raises(WeightsError, match="not valid JSON"):
        load_tokenizer(str(base), None)
