"""The page on migrating answers every option of TRL's DPOConfig, and what it names here is here."""

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.scripts.finetune.dpo import RunConfig
from easydel.trainers.config import DPOConfig

PAGE = Path(__file__).parents[1] / "docs" / "migrating.md"
THEIRS = Path(__file__).parent / "oracles" / "trl_fields.txt"
OURS = {field.name for cls in (DPOConfig, RunConfig) for field in dataclasses.fields(cls)}


def rows(heading: str) -> dict[str, str]:
    """Returns what stands in the first two columns of the table under a heading."""
    section = PAGE.read_text(encoding="utf-8").split(heading)[1].split("\n## ")[0]
    found = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section, re.MULTILINE)
    assert len(dict(found)) == len(found), "an option is answered twice"
    return dict(found)


def test_every_option_of_trl_is_answered():
    assert set(rows("### Every option of TRL")) == set(THEIRS.read_text(encoding="utf-8").split())


@pytest.mark.parametrize("heading", ["### Every option of TRL", "## From EasyDeL"])
def test_what_stands_in_place_of_an_option_is_an_option_here(heading):
    for name, answer in rows(heading).items():
        assert answer == "no" or re.fullmatch(r"`\w+`", answer), name
        assert answer == "no" or answer.strip("`") in OURS, f"{name}: there is no {answer}"


def test_an_option_of_the_same_name_is_not_said_to_be_missing():
    for heading in ("### Every option of TRL", "## From EasyDeL"):
        assert not [name for name, answer in rows(heading).items() if answer == "no" and name in OURS]


def test_what_the_page_calls_arguments_of_from_pretrained_are():
    text = PAGE.read_text(encoding="utf-8")
    names = re.findall(r"\| `(\w+)` \| argument of `from_pretrained`", text)
    assert len(names) >= 4
    known = inspect.signature(AutoEasyDeLModelForCausalLM.from_pretrained).parameters
    assert set(names) <= set(known)


def test_the_config_of_the_page_is_one(tmp_path):
    block = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    [call] = [node for node in ast.walk(ast.parse(block[1])) if isinstance(node, ast.Call)]
    values = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
    assert DPOConfig(**values).total_batch_size == 4 * values["gradient_accumulation_steps"]
