"""Several processes train as one does, end together, and do not wait for one that is gone."""

import functools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import easydel
from easydel.errors import ConfigError
from easydel.launch import local
from easydel.processes import _given, _lengths, in_cluster, start
from easydel.trainers.config import DPOConfig
from easydel.trainers.record.files import read_json, read_metrics, read_samples
from easydel.weights.model_files import read_folder
from oracles import restarted
from oracles.joined import CUT_AT, STEPS, joined_trainer
from oracles.quick import QUICK
from oracles.runs import assert_same_run, without_clock

SOURCE = Path(easydel.__file__).parent
ADDRESS = {"JAX_COORDINATOR_ADDRESS": "there:1234", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}


def test_alone_nothing_is_joined():
    assert _given(None, None, None, {"HOME": "/"}) is None
    assert not in_cluster({"SLURM_JOB_ID": "3", "SLURM_PROCID": "0"})  # of a batch script, not of one of its tasks


def test_all_can_be_imported_before_the_processes_join():
    """Whatever asks jax for a device while it is imported makes joining impossible."""
    modules = [".".join(each.relative_to(SOURCE.parent).with_suffix("").parts) for each in SOURCE.rglob("*.py")]
    of_extras = (".ray", ".harness")  # import a package that the test's environment may lack
    modules = [each for each in modules if not each.endswith((".__main__", *of_extras))]
    work = f"import importlib; [importlib.import_module(each) for each in {modules}]"
    check = "from jax._src import xla_bridge; assert not xla_bridge.backends_are_initialized()"
    subprocess.run(
        [sys.executable, "-c", f"{work}; {check}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )


def test_arguments_win_over_variables():
    assert _given(None, None, None, ADDRESS) == ("there:1234", 2, 1)
    assert _given("here:1", 4, 3, ADDRESS) == ("here:1", 4, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ("here:1", 2, None),
            "coordinator_address = here:1, num_processes = 2, process_id = None: give all three",
        ),
        (("here", 2, 0), "the address must be host:port"),
        (("here:1", 2, 2), "process_id = 2: .* the id from 0 to num_processes - 1"),
    ],
)
def test_an_incomplete_address_is_an_error(given, message):
    with pytest.raises(ConfigError, match=message):
        _given(*given, {})


@pytest.mark.parametrize("lacking", ADDRESS)
def test_incomplete_variables_are_an_error(lacking):
    with pytest.raises(ConfigError, match=rf"{lacking} = .*: (give all three|the address must be)"):
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
def with_devices(count: int = 2) -> Iterator[None]:
    """Makes processes that are started within it see two devices each, or `count`, and the modules of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.setenv("XLA_FLAGS", f"--xla_force_host_platform_device_count={count}{QUICK}")
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


@pytest.mark.slow
def test_two_processes_of_two_devices_train_as_one_of_four_and_leave_together(tmp_path, capfd):
    joined_trainer(tmp_path / "whole", save_steps=3).train()
    shutil.copytree(tmp_path / "whole", tmp_path / "taken", ignore=shutil.ignore_patterns("6", "cache"))
    with with_devices():
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
    with with_devices():
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
    with with_devices():
        members = local.start([sys.executable, "-c", ONE_WITHOUT_ROWS, *words], 2, stderr=subprocess.PIPE)
    found = ended(members)
    assert found[number][0] == 2
    assert "missing.jsonl" in found[number][1]
    assert found[1 - number][0] == 2
    assert re.search(
        rf"^error: process {number} \(.*\) has ended with an error of its own, see there: all others end\.",
        found[1 - number][1],
        re.MULTILINE,
    )


GONE = """
import os, signal, sys, time
from easydel import processes
processes.start(peer_timeout=6)
assert processes.count() == 2 and processes.agreed(True)
if processes.number() == int(sys.argv[2]):
    if sys.argv[1] == "late":
        time.sleep(15)
    else:
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
processes.agreed(True)
processes.stop()
"""


@pytest.mark.slow
def test_a_process_that_is_gone_ends_the_others_with_an_error_and_one_that_is_late_does_not():
    with with_devices():
        pairs = {
            (name, gone): local.start([sys.executable, "-c", GONE, name, str(gone)], 2, stderr=subprocess.PIPE)
            for name, gone in (("SIGKILL", 1), ("SIGSTOP", 0), ("SIGSTOP", 1), ("late", 0))
        }
    try:
        said = {case: pair[1 - case[1]].communicate(timeout=120)[1].decode() for case, pair in pairs.items()}
        status = {case: pair[1 - case[1]].returncode for case, pair in pairs.items()}
        assert pairs["late", 0][0].wait(120) == 0
    finally:
        for member in (member for pair in pairs.values() for member in pair):
            member.kill()
            member.communicate()
    assert status == {("SIGKILL", 1): 1, ("SIGSTOP", 0): 1, ("SIGSTOP", 1): 1, ("late", 0): 0}
    for gone in (0, 1):
        assert re.fullmatch(
            rf"error: process {gone} \(.*\) has given no sign of life for 6 s .*\n", said["SIGSTOP", gone]
        )
    assert "error" not in said["late", 0]


BROKEN_STREAM = """
import sys
from pathlib import Path
import easydel as ed
from easydel import processes
from easydel.errors import with_notes
from oracles.joined import FOUR_DEVICES, ROWS
from oracles.runs import config
from oracles.tiny import tiny_config, tiny_model
from oracles.tokenizers import CHARACTERS, EOS, tiny_tokenizer

folder, broken = Path(sys.argv[1]), sys.argv[2].split(",")
processes._SECONDS_TO_COME = 5
processes.start(peer_timeout=8)

class Rows:
    def __iter__(self):
        for at in range(400):
            if at == 42 and str(processes.number()) in broken:
                raise ConnectionError("reset")
            yield ROWS[at % 12]

options = dict(max_length=40, max_training_steps=16, shuffle_buffer_size=4, total_batch_size=4, do_last_save=False)
model = tiny_model(
    dims=FOUR_DEVICES, config=tiny_config(num_hidden_layers=1, vocab_size=len(CHARACTERS), eos_token_id=EOS)
)
try:
    ed.DPOTrainer(config(folder, **options), model, processing_class=tiny_tokenizer(), train_dataset=Rows()).train()
except ConnectionError as error:
    print(with_notes(error), file=sys.stderr)
    processes.leave(2)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("broken", "kept"), [("0,1", ["10"]), ("1", [])], ids=["all", "one"])
def test_a_stream_that_breaks_is_saved_where_it_breaks_for_all_and_ends_all_where_it_does_not(tmp_path, broken, kept):
    with with_devices():
        members = local.start([sys.executable, "-c", BROKEN_STREAM, str(tmp_path), broken], 2, stderr=subprocess.PIPE)
    found = ended(members)
    assert [status for status, _ in found] == [2, 2]
    assert "reset" in found[1][1]
    assert ("What was trained is saved, up to step 10 of 16." in found[1][1]) == bool(kept)
    checkpoints = tmp_path / "dpo" / "checkpoints"
    assert [path.name for path in checkpoints.iterdir() if path.name.isdigit()] == kept


KILLS = int(os.environ.get("EASYDEL_KILLS", "2"))  # `make survive` asks for more
EPOCHS = 2 + KILLS  # of three steps
MINUTES = 3 + KILLS  # after which a run counts as one that hangs
LAUNCHER = """
import sys
from easydel.launch import local
local._SECONDS_TO_END, local._MAX_DELAY = 2.0, 0.1
command = [sys.executable, "-m", "oracles.restarted", *sys.argv[3:]]
sys.exit(local.run(command, int(sys.argv[1]), restarts=int(sys.argv[2])))
"""


@contextmanager
def launched(folder: Path, count: int = 2, restarts: int = 0) -> Iterator[subprocess.Popen[str]]:
    """A launcher of `count` processes, four devices together, which is ended with all of them where a test fails."""
    with with_devices(4 // count):
        command = [sys.executable, "-c", LAUNCHER, str(count), str(restarts), str(folder), str(EPOCHS)]
        launcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield launcher
    finally:
        launcher.kill()  # the guard then ends the others
        launcher.communicate()


def ended_well(launcher: subprocess.Popen[str]) -> str:
    """Returns what a launcher and its processes have said, once all of them are gone: each holds its stdout open."""
    said, _ = launcher.communicate(timeout=60 * MINUTES)
    assert launcher.returncode == 0, said
    return said


def send_about(
    launcher: subprocess.Popen[str], folder: Path, number: int, signal_: signal.Signals, step: int, delay: float = 0.0
) -> str:
    """Sends a signal to a process, so long after the checkpoint of a step has begun to be written; returns its id."""
    until, place = time.monotonic() + 60 * MINUTES, folder / "ids" / str(number)
    while not (place.exists() and any((folder / "dpo" / "checkpoints").glob(f"{step}*"))):
        assert launcher.poll() is None, launcher.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.001)
    time.sleep(delay)
    process = place.read_text()
    os.kill(int(process), signal_)
    for each in (folder / "ids").iterdir():
        each.unlink()  # those that are started next leave theirs
    return process


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run that two processes made at a stretch."""
    folder = tmp_path_factory.mktemp("straight")
    with launched(folder) as launcher:
        ended_well(launcher)
    return folder


@pytest.mark.slow
def test_processes_that_are_killed_at_random_moments_and_started_again_end_as_if_they_never_were(tmp_path, straight):
    dice = random.Random(KILLS)
    with launched(tmp_path, restarts=KILLS) as launcher:
        for step in sorted(dice.sample(range(2, 3 * EPOCHS - 3), KILLS)):
            send_about(launcher, tmp_path, dice.randrange(2), signal.SIGKILL, step, dice.uniform(0.0, 0.06))
        said = ended_well(launcher)
    assert said.count("was ended by signal 9") == KILLS
    assert f"(restart {KILLS} of {KILLS})" in said
    assert_same_run(tmp_path, straight)


@pytest.mark.slow
def test_a_process_that_freezes_is_named_by_the_others_and_all_start_again(tmp_path, straight):
    frozen = []
    with launched(tmp_path, restarts=2) as launcher:
        for number, step in ((0, 3), (1, 6)):
            frozen.append(send_about(launcher, tmp_path, number, signal.SIGSTOP, step))
        said = ended_well(launcher)
    silent = re.findall(
        r"^error: process (.) \(.*, pid (\d+)\) has given no sign of life for 8 s.*$", said, re.MULTILINE
    )
    assert silent == [("0", frozen[0]), ("1", frozen[1])]
    assert re.findall(r"process (.) has not ended by itself, and is killed.", said) == ["0", "1"]
    assert "Check failure stack trace" not in said
    assert_same_run(tmp_path, straight)


@pytest.mark.slow
def test_another_number_of_processes_continues_a_run_that_lost_one(tmp_path, straight):
    """Several processes add up in the same order, however many; one alone does not, and agrees to rounding."""
    with launched(tmp_path / "lost") as launcher:
        send_about(launcher, tmp_path / "lost", 1, signal.SIGKILL, 7)
        assert launcher.wait(60 * MINUTES) == 128 + signal.SIGKILL
    shutil.copytree(tmp_path / "lost", tmp_path / "alone")
    with launched(tmp_path / "lost", count=4) as launcher:
        ended_well(launcher)
    assert_same_run(tmp_path / "lost", straight)
    restarted.main(tmp_path / "alone", EPOCHS)
    entries, wanted = without_clock(tmp_path / "alone" / "dpo"), without_clock(straight / "dpo")
    for name in ("loss", "eval_loss"):
        values = ([entry[name] for entry in each if name in entry] for each in (entries, wanted))
        np.testing.assert_allclose(*values, atol=1e-5)


@pytest.mark.slow
def test_sums_are_made_in_the_order_that_the_docs_say(tmp_path):
    """One process adds up in the order of the devices; several in that of gloo, however many they are."""

    def sums(count: int, each: int, *, joined: bool) -> dict[str, np.ndarray]:
        command, file = [sys.executable, "-m", "oracles.sums"], tmp_path / f"{count}-{each}-{joined}.npz"
        command += [str(file), "1200"]
        with with_devices(each):
            assert (local.run(command, count) if joined else subprocess.run(command, check=False).returncode) == 0
        with np.load(file) as arrays:
            return dict(arrays)

    def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> tuple[bool, bool]:
        return np.array_equal(one["psum"], other["psum"]), np.array_equal(one["psum_scatter"], other["psum_scatter"])

    alone = {each: sums(1, each, joined=False) for each in (2, 3, 4)}
    for found in alone.values():
        for name in ("psum", "psum_scatter"):
            np.testing.assert_array_equal(found[name], functools.reduce(np.add, found["parts"]))
    assert same(sums(2, 1, joined=True), alone[2]) == (True, True)
    assert same(sums(3, 1, joined=True), alone[3]) == (False, True)
    several = sums(2, 2, joined=True)
    assert same(several, alone[4]) == (False, False)
    assert same(several, sums(4, 1, joined=True)) == (True, True)
    assert same(several, sums(1, 4, joined=True)) == (True, True)
    one, two, three, four = several["parts"]
    np.testing.assert_array_equal(several["psum_scatter"], (one + two) + (three + four))
    np.testing.assert_allclose(several["psum"], alone[4]["psum"], atol=1e-6)


def test_a_limit_of_the_silence_of_others_is_warned_of_where_there_are_none():
    with pytest.warns(UserWarning, match="peer_timeout = 7 has no effect on a run of one process, which has no peers"):
        start(peer_timeout=7)
    start()
