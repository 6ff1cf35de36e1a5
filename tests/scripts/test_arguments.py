import dataclasses

import pytest

from easydel.errors import ConfigError
from easydel.scripts.arguments import make, parse_arguments
from easydel.scripts.flags import Program
from easydel.trainers.options.fields import option
from easydel.trainers.options.values import check_fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class Oven:
    use_fan: bool = option(False, "turn the fan on", group="oven")
    degrees: int = option(180, "temperature, at most 100% of what it can", at_least=0)
    door_axis: str = option("1,1", "where the door is")
    timer: float | None = option(None, "minutes (default: no limit)")

    def __post_init__(self) -> None:
        check_fields(self)


def oven(*argv: str) -> Oven:
    return make(Oven, parse_arguments(argv, (Oven,), Program("oven", "Bakes.", "oven 1"), aliases={"heat": "degrees"}))


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], Oven()),
        (["--use_fan"], Oven(use_fan=True)),
        (["--use-fan"], Oven(use_fan=True)),
        (["--use_fan", "true"], Oven(use_fan=True)),
        (["--use_fan=True"], Oven(use_fan=True)),
        (["--use_fan", "--degrees", "200"], Oven(use_fan=True, degrees=200)),
        (["--use_fan", "false"], Oven()),
        (["--no_use_fan"], Oven()),
        (["--no-use-fan"], Oven()),
        (["--use_fan", "--no_use_fan"], Oven()),
        (["--degrees", "200"], Oven(degrees=200)),
        (["--degrees=200"], Oven(degrees=200)),
        (["--heat", "200"], Oven(degrees=200)),
        (["--door_axis", "-1,1"], Oven(door_axis="-1,1")),
        (["--door-axis=-1,1"], Oven(door_axis="-1,1")),
        (["--door-axis="], Oven(door_axis="")),
        (["--door-axis", "a=b --c"], Oven(door_axis="a=b --c")),
        (["--timer", "none"], Oven()),
        (["--timer", "5e-7"], Oven(timer=5e-7)),
        (["--timer", "1", "--timer", "2"], Oven(timer=2.0)),
    ],
)
def test_every_spelling_of_a_flag_is_read(argv, expected):
    assert oven(*argv) == expected


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--degress", "3"], "unknown flag --degress. Did you mean --degrees?"),
        (["--deg", "3"], "unknown flag --deg."),
        (["--zzzz"], "unknown flag --zzzz. `oven --help all` lists all."),
        (["--use_cpu"], "unknown flag --use_cpu. It has no equivalent here: docs/migrating.md says why."),
        (["--no_degrees"], "unknown flag --no_degrees. Did you mean --degrees?"),
        (["--hea", "3"], "unknown flag --hea. Did you mean --heat?"),
        (["--degrees"], "--degrees needs a value."),
        (["--degrees", "--use_fan"], "--degrees needs a value."),
        (["--config"], "--config needs a value."),
        (["200"], "'200' does not follow a flag"),
        (["-d", "200"], "'-d' does not follow a flag"),
        (["--use_fan", "perhaps"], "use_fan = 'perhaps' must be true or false"),
        (["--degrees", "-5"], "degrees = -5 must be at least 0"),
    ],
)
def test_a_command_line_that_cannot_be_read_says_why(argv, message):
    with pytest.raises(ConfigError) as error:
        oven(*argv)
    assert message in str(error.value)


def test_flags_go_over_the_configuration_file(tmp_path):
    path = tmp_path / "oven.yaml"
    path.write_text("degrees: 220\ntimer: 5e-1\nuse_fan: true\n")
    assert oven("--config", str(path), "--degrees", "230") == Oven(degrees=230, timer=0.5, use_fan=True)
    assert oven("--degrees", "230", f"--config={path}", "--no_use_fan") == Oven(degrees=230, timer=0.5)


def test_an_unknown_name_in_the_configuration_file_is_an_error_with_the_nearest_name(tmp_path):
    path = tmp_path / "oven.yaml"
    path.write_text("degress: 220\n")
    with pytest.raises(ConfigError, match=r"oven\.yaml: unknown option 'degress'\. Did you mean 'degrees'\?"):
        oven("--config", str(path))


def test_help_stands_anywhere_and_shows_groups_and_defaults(capsys):
    with pytest.raises(SystemExit) as stop:
        oven("--use_fan", "--help", "--degrees", "200")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "oven:" in text
    assert "temperature, at most 100% of what it can (default: 180)" in text
    assert "--use_fan [true|false]" in text


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit) as stop:
        oven("--version")
    assert stop.value.code == 0
    assert capsys.readouterr().out == "oven 1\n"
