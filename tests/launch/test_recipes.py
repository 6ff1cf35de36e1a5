"""The recipes that start several processes: what they call, set and run is there."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from easydel.processes import _VARIABLES
from easydel.scripts.finetune import dpo

LAUNCH = Path(__file__).parents[2] / "examples" / "launch"
COMMAND = "python -m easydel.scripts.finetune.dpo"


def parsed(command: str) -> Any:
    """The settings of a command line of ours, with words in place of what the user fills in."""
    words = shlex.split(
        re.sub(r"\$\{?\w+(:-[^}]*)?\}?|\"\$@\"", "word", command.replace("\\\n", " ").replace('"$@"', ""))
    )
    flags = words[words.index("easydel.scripts.finetune.dpo") + 1 :]
    return dpo.parse(flags)[1]


def check_bash(script: str) -> None:
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_batch_file_of_slurm_is_sound_and_its_command_ours():
    script = (LAUNCH / "slurm.sh").read_text()
    check_bash(script)
    command = re.search(rf"{COMMAND}(.*\\\n)*.*", script)
    assert command is not None
    settings = parsed(command[0])
    assert (settings.resume, settings.save_interval_minutes) == ("auto", 30)
    assert "-eq 75" in script


def test_the_jobset_gives_each_process_an_address_and_a_number():
    [job] = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())["spec"]["replicatedJobs"]
    work = job["template"]["spec"]
    [container] = work["template"]["spec"]["containers"]
    variables = {each["name"]: each for each in container["env"]}
    assert tuple(variables) == _VARIABLES
    assert int(variables["JAX_NUM_PROCESSES"]["value"]) == work["completions"] == work["parallelism"]
    port = variables["JAX_COORDINATOR_ADDRESS"]["value"].rpartition(":")[2]
    assert int(port) == container["ports"][0]["containerPort"]
    assert " ".join(container["command"]) == COMMAND
    assert parsed(shlex.join([*container["command"], *container["args"]])).resume == "auto"


def test_the_task_of_skypilot_sets_what_a_process_reads():
    task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    check_bash(task["run"])
    assert tuple(re.findall(r"export (\w+)=", task["run"])) == _VARIABLES
    assert parsed(task["run"][task["run"].index(COMMAND) :]).resume == "auto"


@pytest.mark.parametrize("name", ["slurm.sh", "jobset.yaml", "skypilot.yaml"])
def test_a_recipe_says_how_to_start_it(name):
    assert f"examples/launch/{name}" in (LAUNCH / name).read_text()
