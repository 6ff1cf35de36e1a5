"""Every block of code in README.md and docs runs; one that says why it cannot is read and checked."""

import ast
import dataclasses
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from easydel.scripts import inspect
from easydel.scripts.checkpoint import make_parser
from easydel.scripts.completion import SHELLS
from easydel.scripts.finetune import dpo
from easydel.trainers.config import DPOConfig
from oracles.blocks import KINDS, PAGES, ROOT, Block, blocks_of, commands, flags_of
from oracles.quick import QUICK

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUN = [block for block in BLOCKS if block.kind in ("python", "bash") and block.reason is None and not block.is_session]
ROOTS = (ROOT, ROOT / "src")  # of modules


def of_kind(kind: str) -> list[Block]:
    return [block for block in BLOCKS if block.kind == kind]


@pytest.mark.slow
def test_the_blocks_of_all_pages_run(tmp_path):
    """In one process and on one device, so that what is compiled for one page serves the next."""
    pages = dict.fromkeys(str(block.page) for block in RUN)
    done = subprocess.run(
        [sys.executable, "-m", "oracles.blocks", str(tmp_path), *pages],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "XLA_FLAGS": QUICK},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert re.findall(r"^ran (.*)$", done.stdout, re.MULTILINE) == [block.place for block in RUN]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_its_language_and_none_is_made_by_indenting(page):
    assert [block.place for block in blocks_of(page) if block.kind not in KINDS] == []
    outside = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"\n\n {4}\S.*", outside) == []


@pytest.mark.parametrize("block", of_kind("python"), ids=lambda block: block.place)
def test_python_is_python_and_its_settings_are_ours(block):
    if block.is_session:
        return
    known = {field.name for field in dataclasses.fields(DPOConfig)}
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("DPOConfig"):
            assert {word.arg for word in node.keywords} <= known


@pytest.mark.parametrize("block", of_kind("bash"), ids=lambda block: block.place)
def test_a_command_is_one_that_there_is(block, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words in commands(block.text):
        flags = flags_of(words)
        if flags is None:
            check_command(words)
        elif flags[0] == "--print_completion":
            assert flags[1] in SHELLS
        elif flags[0] == "checkpoint":
            make_parser().parse_args(flags[1:])
        elif flags[0] == "inspect":
            inspect.parse(flags[1:])
        elif flags[0] in ("doctor", "report") or "dpo_runs/dpo/config.yaml" in flags:
            continue  # no flags of a run, or a file that the command before it writes
        else:
            dpo.parse(flags)


def check_command(words: list[str]) -> None:
    """Fails for a command whose target, file or extra is not in the repository."""
    match words:
        case ["make", *targets]:
            text = (ROOT / "Makefile").read_text(encoding="utf-8")
            assert all(re.search(rf"^{target.split('=')[0]}(:| \?=)", text, re.MULTILINE) for target in targets)
        case ["pip", "install", name]:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            found = re.fullmatch(r"\.(?:\[(\w+)\])?", name)  # of a checkout
            assert found is not None
            assert found[1] is None or found[1] in project["optional-dependencies"]
        case ["python", "-m", module, *_]:
            path = Path(*module.split("."))
            assert any((root / path).with_suffix(".py").is_file() or (root / path).is_dir() for root in ROOTS)
        case ["python" | "pytest" | "sbatch", file, *_] | ["kubectl", "apply", "-f", file] | ["sky", _, _, file, *_]:
            assert (ROOT / file).exists()
        case ["cd", _]:
            pass
        case _:
            pytest.fail(f"what does {' '.join(words)} do? Teach this test to check it.")


def test_json_and_yaml_are_what_they_say(tmp_path):
    for block in of_kind("json"):
        for line in block.text.splitlines():
            assert json.loads(line)
    for block in of_kind("yaml"):
        (tmp_path / "run.yaml").write_text(block.text)
        run, config = dpo.parse(["--config", str(tmp_path / "run.yaml")])
        assert yaml.safe_load(block.text).items() <= (dataclasses.asdict(run) | config.to_dict()).items() | {
            ("learning_rate", "5e-7")
        }


def test_the_pages_do_not_say_not_run_without_need():
    assert len([block for block in BLOCKS if block.reason]) <= len(RUN)
