"""How policy and reference are loaded, and where compiled programs are kept."""

import os
import stat
import subprocess
import sys

import easydel
from easydel.scripts.finetune.command_line import parse
from easydel.scripts.finetune.models import load_model

SOMETHING = ["--repo_id", "model", "--dataset_name", "rows.jsonl"]


def test_the_cache_of_compiled_programs_is_private(tmp_path):
    folder = tmp_path / "easydel" / "xla"
    folder.mkdir(parents=True, mode=0o755)
    code = "import jax; from easydel.scripts.finetune import models; models.keep_compiled_programs(); "
    code += "print(jax.config.jax_compilation_cache_dir)"
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


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
    run, config = parse([*SOMETHING, *flags, "--use_dora", "--use_rslora", "--quantization", "nf4"])
    assert (config.lora_rank, config.lora_alpha, config.lora_dropout) == (8, 16.0, 0.05)
    assert config.lora_target_modules == ["q_proj", "v_proj"]
    assert config.columns == {"prompt": "question", "chosen": "best"}
    assert (config.use_dora, config.use_rslora, run.quantization) == (True, True, "nf4")
    asked = {}
    monkeypatch.setattr(
        easydel.AutoEasyDeLModelForCausalLM, "from_pretrained", lambda name, **options: asked.update(options)
    )
    for given, dtype in ((["--dtype", "bfloat16"], "bfloat16"), (["--param_dtype", "float16"], "float16")):
        run, config = parse([*SOMETHING, "--lora_rank", "8", *given])
        load_model(run, config, "model", None)
        assert asked["param_dtype"] == dtype
    load_model(*parse([*SOMETHING, "--dtype", "bfloat16"]), "model", None)
    assert asked["param_dtype"] == "float32"
