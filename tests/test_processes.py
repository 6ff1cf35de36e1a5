"""Several processes train as one does, end together, and do not wait for one that is gone."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from easydel.errors import ConfigError
from easydel.launch import local
from easydel.processes import _given, _lengths, in_cluster
from easydel.trainers.config import DPOConfig
from easydel.trainers.log import read_metrics
from easydel.trainers.run_folder import read_json, read_samples
from easydel.weights.model_files import read_folder
from oracles.joined import CUT_AT, STEPS, joined_trainer
from oracles.quick import QUICK

ADDRESS = {"JAX_COORDINATOR_ADDRESS": "there:1234", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}


def test_alone_nothing_is_joined():
    assert _given(None, None, None, {"HOME": "/"}) is None
    assert not in_cluster({"SLURM_JOB_ID": "3", "SLURM_PROCID": "0"})  # of a batch script, not of one of its tasks


def test_arguments_win_over_variables():
    assert _given(None, None, None, ADDRESS) == ("there:1234", 2, 1)
    assert _given("here:1", 4, 3, ADDRESS) == ("here:1", 4, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ("here:1", 2, None),
            "coordinator_address = here:1, num_processes = 2, process_id = None: all three are needed",
        ),
        (("here", 2, 0), "the address is written host:port"),
        (("here:1", 2, 2), "process_id = 2: .* count from 0 to one below all"),
    ],
)
def test_an_incomplete_address_is_an_error(given, message):
    with pytest.raises(ConfigError, match=message):
        _given(*given, {})


@pytest.mark.parametrize("lacking", ADDRESS)
def test_incomplete_variables_are_an_error(lacking):
    with pytest.raises(ConfigError, match=rf"{lacking} = .*: (all three are needed|the address is written)"):
        _given(None, None, None, {**ADDRESS, lacking: ""})


@pytest.mark.parametrize(
    "environment",
    [
        {
            **{"SLURM_JOB_ID": "3", "SLURM_STEP_NODELIST": "n[0-1]", "SLURM_STEP_NUM_TASKS": "2"},
            **{"SLURM_PROCID": "1", "SLURM_LOCALID": "0"},
        },
        {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:34911"},
        {"TPU_WORKER_HOSTNAMES": "host-0,host-1"},
    ],
    ids=["slurm", "openmpi", "tpu"],
)
def test_the_tasks_of_a_cluster_are_known(environment):
    assert in_cluster(environment)


@pytest.mark.parametrize("length", [0, 5, (1 << 31) - 1, 1 << 31, 10 << 30])
def test_lengths_beyond_two_gibibytes_are_sent_whole(length):
    assert _lengths(length, lambda each: np.stack([each, each])) == [length, length]


@contextmanager
def of_two_devices() -> Iterator[None]:
    """Makes processes that are started within it see two devices each, and the modules of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.setenv("XLA_FLAGS", f"--xla_force_host_platform_device_count=2{QUICK}")
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


@pytest.mark.slow
def test_two_processes_of_two_devices_train_as_one_of_four_and_leave_together(tmp_path, capfd):
    joined_trainer(tmp_path / "whole", save_steps=3).train()
    shutil.copytree(tmp_path / "whole", tmp_path / "taken", ignore=shutil.ignore_patterns("6", "cache"))
    with of_two_devices():
        assert local.run([sys.executable, "-m", "oracles.joined", str(tmp_path)], 2) == 0
    left = re.findall(rf"SIGTERM ended the run after step (\d+) of {STEPS}, which is saved", capfd.readouterr().out)
    assert len(left) == 2
    assert left[0] == left[1]
    assert CUT_AT <= int(left[0]) < STEPS
    joined_trainer(tmp_path / "cut", resume="auto").train()  # what two processes saved, one continues
    for name in ("taken", "cut"):
        compare_runs(tmp_path / name / "dpo", tmp_path / "whole" / "dpo")


def compare_runs(found: Path, expected: Path) -> None:
    """The same losses within 1e-5, the same weights within 1e-4, and the same answers."""
    entries, wanted = read_metrics(found), read_metrics(expected)
    assert [entry["step"] for entry in entries] == [entry["step"] for entry in wanted]
    for name in ("loss", "eval_loss", "grad_norm"):
        values = ([entry[name] for entry in each if name in entry] for each in (entries, wanted))
        np.testing.assert_allclose(*values, atol=1e-5)
    tensors = read_folder(expected / "model")
    for name, tensor in read_folder(found / "model").items():
        np.testing.assert_allclose(tensor.array(), tensors[name].array(), atol=1e-4)
    assert read_json(found / "data.json") == read_json(expected / "data.json")
    assert read_json(found / "best.json")["step"] == read_json(expected / "best.json")["step"]
    assert read_samples(found) == read_samples(expected)
    assert (found / "report.html").exists()


def ended(members: list[subprocess.Popen[bytes]]) -> list[tuple[int, str]]:
    """Exit status and stderr of processes; none outlives the test."""
    try:
        found = [member.communicate(timeout=120)[1].decode() for member in members]
        return [(member.returncode, text) for member, text in zip(members, found, strict=True)]
    finally:
        for member in members:
            member.kill()
            member.wait()


@pytest.mark.slow
def test_an_error_of_the_first_process_alone_is_told_to_all_and_ends_them(tmp_path):
    folder = tmp_path / "quickstart"
    folder.mkdir()
    DPOConfig(model_name="quickstart", beta=0.7).to_yaml(folder / "config.yaml")
    words = ["--resume", "auto", "--save_directory", str(tmp_path), "--no_huge_pages", "--peer_timeout", "300"]
    with of_two_devices():
        members = local.start([sys.executable, "-m", "easydel.scripts.finetune.dpo", *words], 2, stderr=subprocess.PIPE)
    for status, said in ended(members):
        assert status == 2
        assert "error: resume = 'auto' cannot continue the run" in said


ONE_WITHOUT_ROWS = """
import os, sys
from easydel.scripts.finetune import dpo
if os.environ["JAX_PROCESS_ID"] == sys.argv.pop(1):
    sys.argv += ["--repo_id", "missing", "--dataset_name", "missing.jsonl"]
sys.exit(dpo.main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_an_error_that_one_process_has_ends_the_others_too(tmp_path, number):
    words = [str(number), "--save_directory", str(tmp_path), "--no_huge_pages", "--peer_timeout", "8"]
    with of_two_devices():
        members = local.start([sys.executable, "-c", ONE_WITHOUT_ROWS, *words], 2, stderr=subprocess.PIPE)
    found = ended(members)
    assert found[number][0] == 2
    assert "missing.jsonl" in found[number][1]
    assert found[1 - number][0] not in (0, 2)


GONE = """
import os, signal, sys
from easydel import processes
processes.start(peer_timeout=6)
assert processes.count() == 2 and processes.agreed(True)
if processes.number() == int(sys.argv[2]):
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
processes.agreed(True)
"""


@pytest.mark.slow
def test_a_process_that_is_gone_ends_the_others_with_an_error():
    with of_two_devices():
        pairs = {
            (name, gone): local.start([sys.executable, "-c", GONE, name, str(gone)], 2)
            for name, gone in (("SIGKILL", 1), ("SIGSTOP", 0))
        }
    try:
        for (_, gone), pair in pairs.items():
            assert pair[1 - gone].wait(60) != 0
    finally:
        for member in (member for pair in pairs.values() for member in pair):
            member.kill()
            member.wait()
