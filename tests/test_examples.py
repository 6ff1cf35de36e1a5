"""Every script of `examples/` runs, at the size that is here, and every recipe says what the command line knows."""

import ast
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from easydel.scripts.finetune import dpo
from easydel.trainers.intervals import resolve_intervals
from easydel.trainers.record.files import read_metrics
from oracles.quick import QUICK

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = ("quick_start", "ultrafeedback", "lora", "qlora", "simpo", "mpo", "ipo_synced", "multi_host")
RECIPES = ("olmo-2-7b", "tulu-3-8b", "zephyr-7b-beta")
LINES = 60

# In one process and on one device: what they compile alike is compiled once.
RUN = """
import importlib.util, json, sys
from pathlib import Path

folder = Path(sys.argv[1])
for name in sys.argv[2:]:
    spec = importlib.util.spec_from_file_location(name, Path("examples") / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    run = module.main(save_directory=str(folder), steps=2).arguments.run_folder
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    print(json.dumps({"name": name, "step": last["step"], "saved": sorted(path.name for path in run.iterdir())}))
"""


def python(*arguments: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "XLA_FLAGS": QUICK}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_example_trains(tmp_path):
    lines = python("-c", RUN, str(tmp_path), *SCRIPTS, folder=EXAMPLES.parent).splitlines()
    results = {result["name"]: result for result in map(json.loads, (line for line in lines if line.startswith("{")))}
    assert tuple(results) == SCRIPTS
    for result in results.values():
        assert result["step"] == 2
        assert {"config.yaml", "metrics.jsonl", "model", "report.html"} <= set(result["saved"])
    adapters, whole = ({path.name for path in (tmp_path / run / "model").iterdir()} for run in ("qlora", "qlora_again"))
    assert {"adapter_config.json", "adapter_model.safetensors"} <= adapters
    assert "model.safetensors" in whole
    for run in ("qlora", "qlora_again"):  # against the base, then against the adapters of the first
        assert read_metrics(tmp_path / run)[0]["loss"] == pytest.approx(math.log(2), abs=0.01)


def test_an_example_is_short_and_has_one_line_to_change():
    for name in SCRIPTS:
        text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
        assert len(text.splitlines()) <= LINES, name
        assert text.count("FULL_SIZE = False  # the line to change") == 1, name
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_settings_of_an_example_at_full_size_are_settings(name, monkeypatch):
    """Runs `main` with FULL_SIZE and stand-ins for what would be loaded, up to the trainer."""
    import easydel as ed

    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    code = ast.parse(text.replace("FULL_SIZE = False", "FULL_SIZE = True"))
    made: dict[str, object] = {}

    class Stand:
        @staticmethod
        def load(*given: object, **options: object) -> "Stand":
            return Stand()

        from_pretrained = load
        pad_token_id = eos_token_id = 0

    class Reached(Exception):
        pass

    def trainer(arguments: ed.DPOConfig, **rest: object) -> None:
        made["config"] = arguments
        raise Reached

    monkeypatch.setattr(ed, "DPOTrainer", trainer, raising=False)
    monkeypatch.setattr(ed, "AutoEasyDeLModelForCausalLM", Stand, raising=False)
    space: dict[str, object] = {"__name__": name}
    exec(compile(code, name, "exec"), space)
    space |= {"AutoTokenizer": Stand, "load_rows": Stand.load, "load_dataset": Stand.load}
    with pytest.raises(Reached):
        space["main"]()  # type: ignore[operator]
    config = made["config"]
    assert isinstance(config, ed.DPOConfig)
    assert config.max_training_steps is None
    assert config.learning_rate <= 1e-5


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_holds_settings_of_the_command_line(name):
    path = EXAMPLES / "recipes" / f"{name}.yaml"
    run, config = dpo.parse(["--config", str(path)])
    for field, value in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        read = getattr(config if field in type(config).__dataclass_fields__ else run, field)
        assert (read == value) or (float(read) == float(value)), field
    text = path.read_text(encoding="utf-8")
    assert f"easydel-dpo --config examples/recipes/{name}.yaml" in text
    assert re.search(r"arXiv \d{4}\.\d{5}", text)
    assert "# Uncertain: " in text


def test_a_recipe_warms_up_over_a_tenth_of_its_steps():
    for name, pairs, warmup in (
        ("zephyr-7b-beta", 61_135, 574),
        ("tulu-3-8b", 271_409, 213),
        ("olmo-2-7b", 378_339, 296),
    ):
        config = dpo.parse(["--config", str(EXAMPLES / "recipes" / f"{name}.yaml")])[1]
        steps = config.num_train_epochs * -(-pairs // config.total_batch_size)
        assert resolve_intervals(config, steps, None).warmup_steps == warmup == math.ceil(steps / 10)


def test_every_recipe_is_tested():
    assert {path.stem for path in (EXAMPLES / "recipes").iterdir()} == set(RECIPES)
