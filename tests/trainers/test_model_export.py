"""What a run leaves for other programs: the files that they ask for, a card, and all of it on a hub."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard

import easydel as ed
from easydel.scripts.finetune import dpo
from easydel.trainers.model_export import export_model
from easydel.weights.model_files import read_folder
from oracles.cases import CASES
from oracles.folders import write_model
from oracles.hub import TOKEN, local_hub
from oracles.tokenizers import tiny_tokenizer

# What `vllm serve <folder>` reads: config.json with model_type and architectures, what AutoTokenizer loads, and weights
# as *.safetensors, by the index where there are several. https://docs.vllm.ai/en/latest/design/huggingface_integration/
VLLM = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
# What llama.cpp's convert_hf_to_gguf.py reads: config.json with architectures, model*.safetensors, and for the
# vocabulary and its special tokens tokenizer.json and tokenizer_config.json, with chat_template.jinja where the latter
# has no template. https://github.com/ggml-org/llama.cpp: convert_hf_to_gguf.py, gguf-py/gguf/vocab.py
LLAMA_CPP = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
# What AutoPeftModelForCausalLM.from_pretrained reads. https://huggingface.co/docs/peft/developer_guides/checkpoint
PEFT = {"adapter_config.json", "adapter_model.safetensors"}


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """A run of the command line that trains a tiny model and uploads it; as a user would start it."""
    root = tmp_path_factory.mktemp("export")
    base = write_model(root / "base", CASES["llama-gqa"])
    (base / "generation_config.json").write_text('{"eos_token_id": 2}')
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Base\n")
    tiny_tokenizer(chat_template="{% for m in messages %}{{ m.content }}{% endfor %}").save_pretrained(base)
    rows = [{"prompt": "say ", "chosen": "a" * n, "rejected": "b" * n} for n in range(1, 9)]
    (root / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = "--total_batch_size 4 --log_steps 1 --profile_steps 1 --push_to_hub --hub_model_id me/tuned --no_huge_pages"
    places = ["--repo_id", base, "--dataset_name", root / "pairs.jsonl", "--eval_dataset_name", root / "pairs.jsonl"]
    command = [sys.executable, "-m", "easydel.scripts.finetune.dpo", *map(str, places), *flags.split()]
    with local_hub() as hub:
        env = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
        # Xet, the other way to upload, needs the hub's own storage.
        env |= {"HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(hub=hub, done=done, run=root / "dpo_runs" / "dpo", base=base)


def test_an_export_has_the_files_that_other_programs_ask_for(pushed):
    folder = pushed.run / "model"
    names = {path.name for path in folder.iterdir()}
    assert names == VLLM | LLAMA_CPP | {"generation_config.json", "README.md", "curves.svg"}
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "llama"
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert json.loads((folder / "generation_config.json").read_text()) == {"eos_token_id": 2}
    assert json.loads((folder / "tokenizer_config.json").read_text())["eos_token"] == "</s>"


def test_adapters_are_exported_as_the_two_files_that_peft_asks_for(tmp_path):
    folder = write_model(tmp_path / "in", CASES["llama-gqa"])
    model = ed.AutoEasyDeLModelForCausalLM.from_pretrained(folder, sharding_axis_dims=(1, 1, 1, 1, 1), dtype="float32")
    model.apply_lora(rank=2).save_pretrained(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == PEFT


@pytest.mark.parametrize("place", ["", "me/tuned"])
def test_adapters_that_are_uploaded_name_their_base_without_the_path_to_it(tmp_path, place):
    folder = write_model(tmp_path / "base", CASES["llama-gqa"])
    model = ed.AutoEasyDeLModelForCausalLM.from_pretrained(folder, sharding_axis_dims=(1, 1, 1, 1, 1), dtype="float32")
    export_model(
        model.apply_lora(rank=2), None, ed.DPOConfig(), tmp_path / "out", run=None, dataset_names=(), place=place
    )
    told = json.loads((tmp_path / "out" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert told == ("base" if place else str(folder))


def test_the_names_and_shapes_of_the_weights_are_those_of_the_base(pushed):
    before, after = read_folder(pushed.base), read_folder(pushed.run / "model")
    assert {name: stored.shape for name, stored in after.items()} == {n: s.shape for n, s in before.items()}
    header = (pushed.run / "model" / "model.safetensors").read_bytes()[8:200]
    assert b'"format":"pt"' in header.replace(b" ", b"")  # transformers refuses files without it


def test_shards_have_an_index_that_names_each_tensor(tmp_path):
    folder = write_model(tmp_path / "in", CASES["llama-gqa"])
    model = ed.AutoEasyDeLModelForCausalLM.from_pretrained(folder, sharding_axis_dims=(1, 1, 1, 1, 1), dtype="float32")
    model.save_pretrained(tmp_path / "out", max_shard_size=5000)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    shards = {path.name for path in (tmp_path / "out").glob("model-*-of-*.safetensors")}
    assert set(index["weight_map"].values()) == shards
    assert set(index["weight_map"]) == set(read_folder(folder))
    assert index["metadata"]["total_size"] == sum(s.data.nbytes for s in read_folder(folder).values())


def test_what_is_uploaded_is_the_export(pushed):
    written = {path.name: path.read_bytes() for path in (pushed.run / "model").iterdir()}
    assert pushed.hub.files == written
    assert pushed.done.stdout.splitlines()[-1].split() == ["hub", f"{pushed.hub.address}/me/tuned"]
    assert pushed.hub.private is False


def test_the_repository_is_made_before_anything_is_trained(pushed):
    assert pushed.hub.requests[0] == "POST /api/repos/create"


def test_the_token_goes_to_the_hub_and_nowhere_else(pushed):
    assert pushed.hub.tokens == {f"Bearer {TOKEN}"}
    assert TOKEN not in pushed.done.stdout + pushed.done.stderr
    files = [path for path in pushed.run.rglob("*") if path.is_file()]
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]
    assert not [name for name, content in pushed.hub.files.items() if TOKEN.encode() in content]


def test_the_card_says_what_was_done(pushed):
    card = ModelCard.load(pushed.run / "model" / "README.md")
    front = card.data.to_dict()
    tags = ["easydel-dpo", "dpo", "preference-optimization"]
    assert front == {
        "library_name": "transformers",
        "license": "apache-2.0",
        "model_name": "dpo",
        "pipeline_tag": "text-generation",
        "tags": tags,
    }
    evaluated = [
        entry
        for line in (pushed.run / "metrics.jsonl").read_text().splitlines()
        if "eval_loss" in (entry := json.loads(line))
    ]
    assert f"| loss | {evaluated[0]['eval_loss']:.4g} | {evaluated[-1]['eval_loss']:.4g} |" in card.content
    assert "\ntotal_batch_size: 4\nlog_steps: 1" not in card.content  # in the order of the settings
    assert "total_batch_size: 4\n" in card.content
    assert 'from_pretrained("me/tuned")' in card.content
    assert str(pushed.base.parent) not in card.content
    assert "](curves.svg)" in card.content


def test_nothing_that_is_uploaded_tells_a_path_of_this_machine(pushed):
    assert not [name for name, content in pushed.hub.files.items() if str(pushed.base.parent).encode() in content]


def test_the_trace_of_a_step_lies_in_the_run_folder(pushed):
    assert len(list((pushed.run / "profile").rglob("*.xplane.pb"))) == 1


def test_the_command_line_finds_a_missing_login_before_it_reads_anything(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("easydel.trainers.hub.get_token", lambda: None)
    places = ["--repo_id", tmp_path / "none", "--dataset_name", tmp_path / "none.jsonl", "--save_directory", tmp_path]
    assert dpo.main([*map(str, places), "--push_to_hub"]) == 2
    assert capsys.readouterr().err.startswith("error: the hub cannot be written to: no account is logged in.")
