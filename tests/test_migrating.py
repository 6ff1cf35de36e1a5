"""The page on migrating answers every option of the DPOConfigs of TRL and EasyDeL, and what it names here is here."""

import ast
import dataclasses
import inspect
import re
import shlex
from pathlib import Path

import pytest

from easydel import processes
from easydel.data import source
from easydel.data.mix import mix
from easydel.errors import ConfigError
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.scripts.finetune import dpo
from easydel.scripts.finetune.run_config import RunConfig
from easydel.trainers.config import DPOConfig
from easydel.trainers.dpo import DPOTrainer
from easydel.trainers.optimizer import DEFAULTS
from easydel.trainers.options.optimizers import REFUSED, SAME
from easydel.trainers.options.other_programs import known_names

PAGE = Path(__file__).parents[1] / "docs" / "migrating.md"
THEIRS = {
    "### Every option of TRL": Path(__file__).parent / "oracles" / "trl_fields.txt",
    "### Every option of EasyDeL": Path(__file__).parent / "oracles" / "easydel_fields.txt",
}
# The names in published recipes, and of the settings of these programs that a recipe for DPO could have besides.
RECIPES = {
    f"### Every option of {program}'s recipes": Path(__file__).parent / "oracles" / f"{file}_recipes.txt"
    for program, file in (
        ("axolotl", "axolotl"),
        ("LLaMA-Factory", "llama_factory"),
        ("open-instruct", "open_instruct"),
    )
}
OLDER = "## Names of `trl dpo` and of older versions"
TABLES = (*THEIRS, OLDER, *RECIPES)
RENAMED, NOT_HERE, IN_PYTHON = known_names()
HERE = {field.name: field.default for cls in (DPOConfig, RunConfig) for field in dataclasses.fields(cls)}


def section(heading: str) -> str:
    return PAGE.read_text(encoding="utf-8").split(heading)[1].split("\n## ")[0].split("\n### ")[0]


def rows(heading: str) -> dict[str, str]:
    """Returns what a table under a heading says of each name: an option here, "the same" or "no"."""
    lines = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ([^|]*) \|", section(heading), re.MULTILINE)
    found = [(name, answer.strip("`")) for names, answer in lines for name in re.findall(r"\w+", names)]
    assert len(dict(found)) == len(found), "an option is answered twice"
    return dict(found)


@pytest.mark.parametrize("heading", THEIRS)
def test_every_option_of_another_program_is_answered(heading):
    assert set(rows(heading)) == set(THEIRS[heading].read_text(encoding="utf-8").split())


@pytest.mark.parametrize("heading", RECIPES)
def test_every_option_of_a_recipe_is_answered_in_its_table_or_in_those_of_trl(heading):
    there = set(RECIPES[heading].read_text(encoding="utf-8").split())
    above = {name for other in TABLES if other != heading for name in rows(other)}
    assert set(rows(heading)) <= there
    assert there - set(rows(heading)) - above - set(HERE) == set()


RECIPE = """
model_name_or_path: HuggingFaceTB/SmolLM2-135M-Instruct
trust_remote_code: true
stage: dpo
pref_beta: 0.1
cutoff_len: 2048
evals_per_epoch: 4
lr_scheduler_type: cosine
warmup_ratio: 0.1
"""


def test_a_recipe_of_another_program_is_answered_line_by_line(tmp_path):
    """Each line that is not known here names what takes its place, or that nothing does."""
    lines, said = RECIPE.strip().splitlines(), []
    for line in lines:
        (tmp_path / "run.yaml").write_text(f"dataset_name: pairs.jsonl\nrepo_id: folder\n{line}\n")
        try:
            dpo.parse(["--config", str(tmp_path / "run.yaml")])
        except ConfigError as error:
            said.append(str(error).split(".yaml: unknown option ")[1])
    assert said == [
        "'model_name_or_path'. Use repo_id.",
        "'trust_remote_code'. It has no equivalent here: docs/migrating.md says why.",
        "'stage'. It has no equivalent here: docs/migrating.md says why.",
        "'pref_beta'. Use beta.",
        "'cutoff_len'. Use max_length.",
        "'evals_per_epoch'. Use evaluation_steps: a share of the run, 1 / (times per epoch x num_train_epochs), "
        "or 'epoch'.",
    ]


def test_all_lines_of_a_recipe_that_are_not_known_are_answered_at_once(tmp_path):
    (tmp_path / "run.yaml").write_text(RECIPE + "do_train: true\nref_model: null\nzzzz: 1\n")
    with pytest.raises(ConfigError) as caught:
        dpo.parse(["--config", str(tmp_path / "run.yaml")])
    first, *lines = str(caught.value).splitlines()
    assert first == f"{tmp_path}/run.yaml: unknown options:"
    assert lines == [
        "  model_name_or_path: Use repo_id.",
        "  pref_beta: Use beta.",
        "  cutoff_len: Use max_length.",
        "  evals_per_epoch: Use evaluation_steps: a share of the run, 1 / (times per epoch x num_train_epochs), "
        "or 'epoch'.",
        "  ref_model: It is null: leave it out.",
        "  zzzz: `easydel-dpo --help all` lists all.",
        "  trust_remote_code, stage, do_train: It has no equivalent here: docs/migrating.md says why.",
    ]


def test_all_flags_that_are_not_known_are_answered_at_once():
    flags = "--model_name_or_path a --beta 0.2 --do-train --max_lenght=5 --output_dir=b --zzzz 1 2"
    with pytest.raises(ConfigError) as caught:
        dpo.parse(shlex.split(flags))
    assert str(caught.value).splitlines() == [
        "unknown flags:",
        "  --model_name_or_path: Use --repo_id.",
        "  --max_lenght: Did you mean --max_length?",
        "  --output_dir: Use --save_directory: model_name is the folder in it.",
        "  --zzzz: `easydel-dpo --help all` lists all.",
        "  --do-train: It has no equivalent here: docs/migrating.md says why.",
    ]


def test_all_options_that_are_not_known_in_python_are_answered_at_once():
    with pytest.raises(ConfigError) as caught:
        DPOConfig(output_dir="runs", bta=0.1, bf16=True)  # pyright: ignore[reportCallIssue]
    assert str(caught.value).splitlines() == [
        "DPOConfig: unknown options:",
        "  output_dir: Use save_directory: model_name is the folder in it.",
        "  bta: Did you mean 'beta'?",
        "  bf16: Use dtype, an argument of from_pretrained: bfloat16 where that is true.",
    ]


@pytest.mark.parametrize(
    ("given", "policy"), [("true", "nothing_saveable"), ("false", ""), ("dots_saveable", "dots_saveable")]
)
def test_recomputation_is_turned_on_and_off_as_in_other_programs(tmp_path, given, policy):
    (tmp_path / "run.yaml").write_text(f"gradient_checkpointing: {given}\n")
    for words in (["--config", str(tmp_path / "run.yaml")], ["--gradient_checkpointing", given]):
        assert dpo.parse(words)[0].gradient_checkpointing == policy


@pytest.mark.parametrize("heading", TABLES)
def test_what_stands_in_place_of_an_option_is_an_option_here(heading):
    for name, answer in rows(heading).items():
        assert answer == "no" or (name if answer == "the same" else answer) in HERE, f"{name}: there is no {answer}"
        assert (name in HERE) == (answer in ("the same", name)), f"{name}: {answer}"


@pytest.mark.parametrize("heading", TABLES)
def test_an_error_says_of_a_name_of_another_program_what_the_page_says(heading):
    for name, answer in rows(heading).items():
        if answer == "no":
            assert name in NOT_HERE, name
        elif name not in HERE:
            assert RENAMED[name].split(":")[0] == answer, name


def test_what_an_error_says_of_another_programs_names_is_on_the_page():
    told = {name for heading in TABLES for name in rows(heading)}
    assert {*RENAMED, *NOT_HERE} - told == set()
    assert {*RENAMED, *NOT_HERE} & set(HERE) == set()
    assert {ours.split(":")[0] for ours in RENAMED.values()} <= set(HERE)


def test_an_option_that_is_no_field_in_python_is_where_an_error_says():
    assert set(IN_PYTHON) == {field.name for field in dataclasses.fields(RunConfig)}
    callables = {
        "from_pretrained": AutoEasyDeLModelForCausalLM.from_pretrained,
        "DPOTrainer": DPOTrainer,
        "load_rows (easydel.data.source)": source.load_rows,
        "mix (easydel.data.mix)": mix,
        "easydel.processes.start": processes.start,
    }
    for name, where in IN_PYTHON.items():
        argument, found, function = where.partition(", an argument of ")
        assert not found or argument in inspect.signature(callables[function]).parameters, name


@pytest.mark.parametrize("program", ["TRL 1.16", "EasyDeL 0.3"])
def test_a_default_that_differs_is_the_default_here(program):
    table = re.findall(
        r"^\| `(\w+)` \| .* \| (.*) \|$", section(f"### Defaults that differ from {program}"), re.MULTILINE
    )
    assert len(table) >= 10
    for name, said in table:
        default = "off" if HERE[name] == "" else str(HERE[name]).lower()
        assert re.match(re.escape(default) + r"\b", said.strip("`")), name


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


def test_the_page_says_of_every_name_of_an_optimizer_what_the_program_does():
    answers = rows("### Names of optimizers")
    assert set(answers) == {*SAME, *REFUSED, "adafactor", "rmsprop", "muon"}
    for name, answer in answers.items():
        if name in REFUSED:
            assert answer == "no", name
            with pytest.raises(ConfigError, match=re.escape(REFUSED[name])):
                DPOConfig(optimizer=name)
        else:
            assert DPOConfig(optimizer=name).optimizer == answer, name
    for name in REFUSED:  # names what there is
        assert set(re.findall(r"'(\w+)'", REFUSED[name])) & set(DEFAULTS), name


@pytest.mark.oracle
def test_every_optimizer_of_transformers_is_answered():
    arguments = pytest.importorskip("transformers.training_args")
    for name in arguments.OptimizerNames:
        assert {name.value} & {*SAME, *REFUSED, *DEFAULTS}, name
        if name.value in SAME:
            assert DPOConfig(optimizer=name).optimizer == SAME[name.value]
