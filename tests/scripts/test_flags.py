"""What `--help` shows: the options most people use, a group of them, or all."""

import dataclasses
import re

import pytest

from easydel.errors import ConfigError
from easydel.scripts.finetune.command_line import PROGRAM, parse
from easydel.scripts.finetune.run_config import RunConfig
from easydel.scripts.flags import Program, choices_by_name, help_text
from easydel.trainers.config import DPOConfig
from easydel.trainers.options.fields import groups_of, option

GROUPS = groups_of(RunConfig, DPOConfig)
FIELDS = [field for cls in (RunConfig, DPOConfig) for field in dataclasses.fields(cls)]
# What a first run names: the model, the data, where to, which loss, how large, how long, how fast.
FIRST_RUN = {
    *("repo_id", "dataset_name", "save_directory", "loss_type", "beta", "learning_rate", "total_batch_size"),
    *("gradient_accumulation_steps", "num_train_epochs", "max_length", "lora_rank"),
}


def shown(text: str) -> list[str]:
    return [name for name in re.findall(r"^  --(\w+)", text, re.MULTILINE) if name not in PROGRAM._fields]


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        parse(list(words))
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_help_shows_the_options_most_people_use_and_says_how_to_see_the_rest(capsys):
    text = printed(capsys, "--help")
    names = [name for name in shown(text) if name not in ("config", "print_completion")]
    assert set(names) == {field.name for field in FIELDS if field.metadata["common"]}
    assert set(names) >= FIRST_RUN
    assert 15 <= len(names) <= 25
    end = " ".join(text.rsplit("\n\n", 1)[1].split())
    assert end == (
        f"These are {len(names)} of {len(FIELDS)} options. `easydel-dpo --help all` shows all of them, "
        f"`easydel-dpo --help GROUP` those of a group: {', '.join(GROUPS).lower()}."
    )


@pytest.mark.parametrize("words", [["--help", "all"], ["--help=all"], ["-h", "all"], ["--beta", "1", "--help", "all"]])
def test_help_all_shows_every_option_with_its_help(words, capsys):
    text = printed(capsys, *words)
    letters = "".join(text.split())  # a line may break after a hyphen
    for field in FIELDS:
        assert f"--{field.name} " in text
        assert "".join(field.metadata["help"].split()) in letters


@pytest.mark.parametrize("title", GROUPS)
def test_help_of_a_group_shows_its_options_alone(title, capsys):
    text = printed(capsys, "--help", title.lower())
    assert text.startswith(f"{title}:\n")
    assert shown(text) == [field.name for field, _ in GROUPS[title]]


def test_a_group_has_one_name_in_any_case_and_is_one_word():
    assert help_text(PROGRAM, GROUPS, "LoRA") == help_text(PROGRAM, GROUPS, "lora")
    assert all(re.fullmatch(r"\w+", title) for title in GROUPS)
    assert "all" not in GROUPS


def test_an_unknown_group_is_an_error_with_those_there_are():
    with pytest.raises(ConfigError, match=r"--help lorra: unknown group\. Did you mean .lora.\? The groups are "):
        parse(["--help", "lorra"])


def test_a_default_is_shown_once_and_a_default_of_none_by_what_it_means():
    text = " ".join(help_text(PROGRAM, GROUPS, "all").split())
    for default in ("(default: sigmoid)", "(default: 0.1)", "(default: true)", "(default: no limit)"):
        assert default in text
    assert "(default: none)" in text.split("--scheduler")[1].split("--lr_")[0]  # the name of a schedule
    assert text.count("(default: none)") == 1
    assert not re.search(r"\(default: [^()]*\) \(default", text)


def test_a_program_that_marks_no_option_as_common_shows_all():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Oven:
        degrees: int = option(180, "temperature, at most 100% of what it can", group="oven")

    text = help_text(Program("oven", "Bakes.", "oven 1"), groups_of(Oven), "")
    assert "  --degrees N                     temperature, at most 100% of what it can (default: 180)\n" in text


def test_a_shell_is_offered_the_groups_and_the_values_of_a_choice():
    choices = choices_by_name(GROUPS)
    assert choices["help"] == ["all", *(title.lower() for title in GROUPS)]
    assert choices["use_dora"] == ("true", "false")
    assert choices["optimizer"] == ("adamw", "adafactor", "lion", "rmsprop", "muon")
    assert "beta" not in choices
