"""What a shell completes: the scripts are run by the shell itself where it is there."""

import shutil
import subprocess

import pytest

from easydel.errors import ConfigError
from easydel.scripts.completion import SHELLS
from easydel.scripts.finetune.command_line import parse


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        parse(["--print_completion", shell])
    assert stop.value.code == 0
    return capsys.readouterr().out


def completed_by_bash(text: str, words: list[str]) -> set[str]:
    """Returns what bash offers for the last of the words."""
    line = " ".join(words)
    ask = f"""
{text}
COMP_WORDS=({" ".join(f"'{word}'" for word in words)}); COMP_CWORD={len(words) - 1}
COMP_LINE='{line}'; COMP_POINT={len(line)}
$(complete -p easydel-dpo | sed 's/.*-F \\([^ ]*\\).*/\\1/') easydel-dpo '{words[-1]}' '{words[-2]}'
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", ask], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["--loss_w"], {"--loss_weights"}),
        (["--progress_bar_type", ""], {"tqdm", "rich", "json", "none"}),
        (["--use_dora", ""], {"true", "false"}),
        (["--loss_type", "apo"], {"apo_zero", "apo_down"}),
        (["doc"], {"doctor"}),
    ],
)
def test_bash_completes_flags_their_values_and_commands(words, offered, capsys):
    assert completed_by_bash(script("bash", capsys), ["easydel-dpo", *words]) == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_has_a_script_that_names_the_flags(shell, capsys):
    text = script(shell, capsys)
    assert "easydel-dpo" in text
    assert "gradient_accumulation_steps" in text


def test_a_shell_without_a_script_is_an_error_that_lists_the_others():
    with pytest.raises(ConfigError, match=r"--print_completion nushell is not one of bash, zsh, fish, tcsh\."):
        parse(["--print_completion", "nushell"])
