"""What comes from elsewhere cannot run code, write outside its place, or make a secret show up where others read."""

import ast
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import easydel as ed
from easydel.errors import ConfigError, DataError, WeightsError
from easydel.scripts.finetune import dpo
from easydel.scripts.loading import load_tokenizer
from oracles.cases import CASES
from oracles.folders import write_model
from oracles.runs import config, tiny_model
from oracles.tokenizers import tiny_tokenizer
from test_layering import FILES

SECRET = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"
CHAT = {
    "prompt": [{"role": "user", "content": "sky"}],
    "chosen": [{"role": "assistant", "content": "blue"}],
    "rejected": [{"role": "assistant", "content": "red"}],
}


def calls(path: Path) -> list[str]:
    """The calls in a file, as written but for their arguments, with `name=value` of each keyword that is a constant."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            found.append(ast.unparse(node.func))
            found += [
                f"{word.arg}={word.value.value}" for word in node.keywords if isinstance(word.value, ast.Constant)
            ]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found += [f"import {name.name}" for name in node.names]
            found += [f"import {node.module}"] if isinstance(node, ast.ImportFrom) else []
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_in_the_package_runs_what_it_reads(path):
    forbidden = {"eval", "exec", "compile", "yaml.load", "yaml.unsafe_load", "np.load", "os.system", "shell=True"}
    forbidden |= {"allow_pickle=True", "trust_remote_code=True", "__import__"}
    forbidden |= {f"pickle.{name}" for name in ("load", "loads", "Unpickler")}
    forbidden |= {f"import {name}" for name in ("cloudpickle", "dill", "marshal", "shelve", "torch")}
    # A process that tokenizes reads what the one that started it sent, and the processes of a run send plain arrays.
    own = {"tokenize_rows.py": {"pickle.loads"}, "processes.py": {"np.load"}}
    assert not forbidden & set(calls(path)) - own.get(path.name, set())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder."""
    place = write_model(tmp_path / "model", CASES["llama-gqa"])
    tiny_tokenizer().save_pretrained(place)
    return place


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_code_that_comes_with_a_tokenizer_is_not_run_nor_asked_about(folder, tmp_path, monkeypatch):
    trace = tmp_path / "it ran"
    (folder / "evil.py").write_text(f"open({str(trace)!r}, 'w')\nclass Evil: pass\n")
    change(
        folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, tokenizer_class="Evil"
    )
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    with pytest.raises(ConfigError, match=r"cannot load a tokenizer .* custom code"):
        load_tokenizer(str(folder), None)
    assert not trace.exists()


def test_code_that_comes_with_a_model_is_not_run(folder, tmp_path):
    trace = tmp_path / "it ran"
    (folder / "evil.py").write_text(f"open({str(trace)!r}, 'w')\nclass Evil: pass\n")
    change(folder / "config.json", auto_map={"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"})
    ed.AutoEasyDeLModelForCausalLM.from_pretrained(folder, sharding_axis_dims=(1, 1, 1, 1, 1))
    assert not trace.exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth"])
def test_pickled_weights_are_refused_unread(folder, name):
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(WeightsError, match="can run code"):
        ed.AutoEasyDeLModelForCausalLM.from_pretrained(folder, sharding_axis_dims=(1, 1, 1, 1, 1))


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__init__.__globals__['__builtins__']['open']('x', 'w') }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ messages.append(1) }}",
        "{% include '/etc/passwd' %}",
        "{% for i in range(10 ** 9) %}x{% endfor %}",
        "{{ 'x' * 10 ** 18 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 1 / 0 }}",
    ],
)
def test_a_chat_template_stays_in_its_sandbox_and_ends_in_a_clean_error(tmp_path, template):
    tokenizer = tiny_tokenizer(chat_template=template)
    with pytest.raises(DataError, match="row 0: the chat template cannot render the conversation"):
        ed.DPOTrainer(config(tmp_path), tiny_model(), None, tokenizer, [CHAT])


@pytest.mark.parametrize("name", ["../x", "..", ".", "", "a/b", "/etc", "a\\b", "a\0b", "x/../../y"])
def test_a_run_cannot_be_named_out_of_its_folder(tmp_path, name):
    with pytest.raises(ConfigError, match=r"model_name = .* must be one plain folder name"):
        ed.DPOConfig(model_name=name, save_directory=str(tmp_path))
    (tmp_path / "run.yaml").write_text(f"model_name: {json.dumps(name)}\n")
    with pytest.raises(ConfigError, match=r"model_name = .* must be one plain folder name"):
        ed.DPOConfig.from_yaml(tmp_path / "run.yaml")


def test_a_secret_of_the_environment_is_in_nothing_that_a_run_shows_or_writes(folder, tmp_path, monkeypatch, capfd):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"):
        monkeypatch.setenv(name, SECRET)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "sky", "chosen": "blue", "rejected": "red"}) + "\n")
    flags = {"repo_id": folder, "dataset_name": rows, "save_directory": tmp_path / "runs", "sharding_axis": "1,1,1,1,1"}
    argv = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    assert dpo.main([*argv, "--no_compilation_cache", "--generation_prompts", "1"]) == 0
    assert SECRET not in "".join(capfd.readouterr())
    written = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert {"config.yaml", "report.html", "metrics.jsonl", "tokenizer.json"} <= {path.name for path in written}
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]


def test_a_token_that_is_given_is_in_no_message_and_in_no_model(folder, caplog):
    model = ed.AutoEasyDeLModelForCausalLM.from_pretrained(folder, token=SECRET, sharding_axis_dims=(1, 1, 1, 1, 1))
    assert SECRET not in repr(model)
    shutil.rmtree(folder)
    with pytest.raises(WeightsError) as error:
        ed.AutoEasyDeLModelForCausalLM.from_pretrained("nobody/nothing", token=SECRET)
    assert SECRET not in str(error.value) + repr(error.value.__cause__) + caplog.text
