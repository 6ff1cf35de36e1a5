"""The recipes that start several processes: what they call, set and run is there."""

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from easydel.processes import _VARIABLES
from easydel.scripts.finetune import dpo
from easydel.trainers.signals import EXIT_CODE

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


@pytest.mark.parametrize(
    ("status", "restarts", "requeued"),
    [(0, 0, False), (2, 0, False), (75, 99, True), (137, 9, True), (1, 9, True), (1, 10, False)],
)
def test_the_batch_file_of_slurm_goes_back_to_the_queue_after_what_may_pass(tmp_path, status, restarts, requeued):
    """With an `srun` that ends with a status, and an `scontrol` that writes down what it was asked."""
    for name, work in (("srun", f"exit {status}"), ("scontrol", 'echo "$@" > "$ASKED"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{work}\n")
        (tmp_path / name).chmod(0o755)
    asked = tmp_path / "asked"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ASKED": str(asked), "SLURM_JOB_ID": "7"}
    environment |= {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_RESTART_COUNT": str(restarts)}
    done = subprocess.run(["bash", str(LAUNCH / "slurm.sh")], env=environment, check=False)
    assert done.returncode == status
    assert (asked.read_text() if asked.exists() else None) == ("requeue 7\n" if requeued else None)


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
    [rule] = work["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [2]}


def test_the_task_of_skypilot_sets_what_a_process_reads():
    task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [EXIT_CODE]
    check_bash(task["run"])
    assert tuple(re.findall(r"export (\w+)=", task["run"])) == _VARIABLES
    assert parsed(task["run"][task["run"].index(COMMAND) :]).resume == "auto"


@pytest.mark.parametrize("name", ["slurm.sh", "jobset.yaml", "skypilot.yaml"])
def test_a_recipe_says_how_to_start_it(name):
    assert f"examples/launch/{name}" in (LAUNCH / name).read_text()
