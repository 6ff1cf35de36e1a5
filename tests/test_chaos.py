"""A run that loses process, terminal, reader, disk, launcher or stream ends as one that never did, bit for bit."""

import os
import pty
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import easydel as ed
from easydel.errors import with_notes
from easydel.trainers.signals import EXIT_CODE
from oracles.runs import assert_same_run, config, held_out_trainer, id_rows, logged, same_bits, steps_kept, tiny_model

RUN = {
    "save_steps": 1,
    "save_total_limit": 2,
    "log_steps": 3,
    "evaluation_steps": 5,
    "best_metric": "eval_loss",
    "sync_ref_model": True,
    "ref_model_sync_steps": 4,
    "scheduler": "cosine",
}
# With a terminal on stdin, that is the one which ends it. What is said to people goes through every screen.
CHILD = f"""
import fcntl, os, sys, termios
from pathlib import Path
from easydel.errors import ConfigError, Interrupted
from oracles.runs import held_out_trainer
if os.isatty(0):
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
options = {{"resume": "auto", "num_train_epochs": int(sys.argv[2]), "progress_bar_type": sys.argv[3], **{RUN!r}}}
try:
    held_out_trainer(Path(sys.argv[1]), **options).train()
except Interrupted:
    sys.exit({EXIT_CODE})
except ConfigError as error:
    sys.exit(str(error))
"""
KILLS = int(os.environ.get("EASYDEL_KILLS", "2"))  # `make survive` asks for more
EPOCHS = 4 + KILLS  # of three steps


def start(folder: Path, screen: str = "none", **streams: Any) -> subprocess.Popen[str]:
    """Starts or continues the run in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CHILD, str(folder), str(EPOCHS), screen]
    return subprocess.Popen(command, env=environment, text=True, **{"stderr": subprocess.PIPE} | streams)


def wait_for(
    process: subprocess.Popen[str], checkpoints: Path, step: int, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Returns when a process, which writes a checkpoint at every step, has begun to write that of a step, or ended."""
    while process.poll() is None and not any(checkpoints.glob(f"{step}*")):
        meanwhile()
        time.sleep(0.001)


def kill_about(process: subprocess.Popen[str], checkpoints: Path, step: int, delay: float) -> None:
    """Kills a process so long after it has begun to write the checkpoint of a step."""
    wait_for(process, checkpoints, step)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    _, complaints = process.communicate()
    assert process.returncode == -signal.SIGKILL, complaints


def moments() -> list[tuple[int, float]]:
    """Steps at which something happens, and how long after it."""
    dice = random.Random(KILLS)
    return [(step, dice.uniform(0.0, 0.06)) for step in sorted(dice.sample(range(2, 3 * EPOCHS - 3), KILLS))]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run that nothing happened to."""
    folder = tmp_path_factory.mktemp("straight")
    held_out_trainer(folder, num_train_epochs=EPOCHS, **RUN).train()
    return folder


def assert_same(folder: Path, straight: Path) -> None:
    """A run left what another did, and no lock."""
    assert_same_run(folder, straight)
    assert not (folder / "dpo" / ".lock").exists()


def continued(folder: Path) -> None:
    """Lets the run go on to its end."""
    process = start(folder)
    _, complaints = process.communicate()
    assert process.returncode == 0, complaints


@pytest.mark.slow
def test_a_run_that_is_killed_at_random_moments_ends_as_one_that_never_was(tmp_path, straight):
    for step, delay in moments():
        kill_about(start(tmp_path), tmp_path / "dpo" / "checkpoints", step, delay)
    continued(tmp_path)
    assert_same(tmp_path, straight)


@pytest.mark.slow
def test_a_run_whose_terminal_closes_at_random_moments_ends_as_one_whose_did_not(tmp_path, straight):
    """A second one of its name, started meanwhile, is refused and harms nothing."""
    for number, (step, delay) in enumerate(moments()):
        terminal, ours = pty.openpty()
        screen = ("rich", "tqdm", "json")[number % 3]
        process = start(tmp_path, screen, stdin=ours, stdout=ours, stderr=ours, start_new_session=True)
        os.close(ours)

        def read(terminal: int = terminal) -> None:
            if select.select([terminal], [], [], 0)[0]:
                os.read(terminal, 1 << 16)

        if number == 0:
            wait_for(process, tmp_path / "dpo" / "checkpoints", 1, read)
            process.send_signal(signal.SIGSTOP)  # so that it is there as long as the second
            second = start(tmp_path)
            _, complaints = second.communicate()
            process.send_signal(signal.SIGCONT)
            assert (second.returncode, complaints.count("\n")) == (1, 1)
            assert f"a run is under way in {tmp_path / 'dpo'}: process {process.pid} on " in complaints
        wait_for(process, tmp_path / "dpo" / "checkpoints", step, read)
        time.sleep(delay)
        os.close(terminal)
        status = process.wait()
        assert status in (EXIT_CODE, 0)
        if status == 0:  # on a busy machine it was over before
            break
    continued(tmp_path)
    assert_same(tmp_path, straight)


@pytest.mark.slow
def test_a_run_whose_reader_goes_away_at_a_random_moment_ends_as_one_that_is_read(tmp_path, straight):
    for number, (step, delay) in enumerate(moments()):
        folder = tmp_path / str(number)
        screen = ("json", "tqdm", "rich")[number % 3]
        process = start(folder, screen, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout is not None
        wait_for(process, folder / "dpo" / "checkpoints", step)
        time.sleep(delay)
        process.stdout.close()
        assert process.wait() == 0
        assert_same(folder, straight)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, on which there is little room; who may not make one skips."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={4 * EPOCHS}k", "tmpfs", str(place)], capture_output=True
    )
    if made.returncode:
        pytest.skip("only root may mount a disk, and not everywhere")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_run_whose_log_fills_its_disk_for_a_while_has_all_of_it_in_the_end(tmp_path, straight, small_disk):
    """Its log lies on a disk that is full from one step to another."""
    folder, ballast = tmp_path / "run", small_disk / "ballast"
    process = start(folder)
    checkpoints, log = folder / "dpo" / "checkpoints", folder / "dpo" / "metrics.jsonl"
    wait_for(process, checkpoints, 1)
    process.send_signal(signal.SIGSTOP)
    (small_disk / "metrics.jsonl").write_bytes(log.read_bytes() if log.exists() else b"")
    log.unlink(missing_ok=True)
    log.symlink_to(small_disk / "metrics.jsonl")
    with ballast.open("wb", buffering=0) as file:
        assert (file.write(bytes(1 << 20)) or 0) < 1 << 20  # all that there is
    process.send_signal(signal.SIGCONT)
    wait_for(process, checkpoints, 3 * EPOCHS - 2)
    process.send_signal(signal.SIGSTOP)
    ballast.unlink()
    process.send_signal(signal.SIGCONT)
    _, complaints = process.communicate()
    assert process.returncode == 0, complaints
    assert complaints.count("metrics.jsonl could not be written: No space left on device. Make room") == 1
    assert "not written" not in complaints
    assert_same(folder, straight)


LAUNCHED = "import sys; from easydel.launch.local import run; sys.exit(run([sys.executable, *sys.argv[1:]], 1))"


@pytest.mark.slow
def test_a_run_whose_launcher_is_killed_at_random_moments_ends_as_one_whose_was_not(tmp_path, straight):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", LAUNCHED, "-c", CHILD, str(tmp_path), str(EPOCHS), "none"]
    for step, delay in moments():
        launcher = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        kill_launcher(launcher, tmp_path / "dpo" / "checkpoints", step, delay)
    continued(tmp_path)
    assert_same(tmp_path, straight)


def kill_launcher(launcher: subprocess.Popen[str], checkpoints: Path, step: int, delay: float) -> None:
    """Kills a launcher, and returns when all that it started has ended: each holds its stdout open."""
    is_training = not any(checkpoints.glob(f"{step}*"))  # or it is killed as it begins, when there is nothing to save
    wait_for(launcher, checkpoints, step)
    time.sleep(delay)
    launcher.kill()
    said, _ = launcher.communicate()
    assert launcher.returncode in (-signal.SIGKILL, 0), said
    is_over = (checkpoints.parent / "model").exists()  # before, on a busy machine
    assert is_over or not is_training or "SIGTERM: ending after this step, which is saved" in said


BREAKS = 2 + KILLS
GOOD = id_rows(12 * BREAKS)
STREAMED = {"max_training_steps": 3 * BREAKS, "shuffle_buffer_size": 4, "log_steps": 2, "do_last_save": False}


class Breaking:
    """Good rows with bad ones among them, whose connection is lost before one of them."""

    def __init__(self, bad: set[int], lost_at: int) -> None:
        self.bad, self.lost_at = bad, lost_at

    def __iter__(self) -> Iterator[Any]:
        for number, row in enumerate(GOOD):
            if number == self.lost_at:
                raise ConnectionError("reset by peer")
            if number in self.bad:
                yield {**row, "weight": -1}
            yield row


def streamed(folder: Path, rows: Any, **options: Any) -> ed.DPOTrainer:
    arguments = config(folder, **{**STREAMED, **options})
    return ed.DPOTrainer(arguments, tiny_model(), train_dataset=rows, eval_dataset=id_rows(3, seed=1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* rows could not be read and are left out")
def test_a_stream_that_breaks_at_random_rows_ends_as_one_of_the_good_rows_alone(tmp_path):
    """The first bad row stops the run, and is left out from then on; each time the connection holds for longer."""
    straight = streamed(tmp_path / "straight", iter(GOOD)).train()
    dice = random.Random(BREAKS)
    looked_at = 32  # before training begins; a bad row there is found before there is anything to save
    bad = set(dice.sample(range(looked_at + 4, len(GOOD)), 3))
    lost = [*sorted(dice.sample(range(looked_at + 1, len(GOOD)), BREAKS)), len(GOOD)]
    options: dict[str, Any] = {"resume": "auto"}
    expected, said, result = [], [], None
    while result is None:
        try:
            result = streamed(tmp_path / "broken", Breaking(bad, lost[0]), **options).train()
        except ConnectionError as error:
            said.append(with_notes(error))
            expected.append(lost.pop(0) // 4)
        except ed.DataError as error:
            said.append(with_notes(error))
            expected.append(min(bad) // 4)
            options["on_bad_row"] = "skip"
    assert len(said) == BREAKS + 1  # and the first bad row
    assert all(f"up to step {step} of" in words for step, words in zip(expected, said, strict=True))
    assert same_bits(result.model.params, straight.model.params)
    for name in ("loss", "eval_loss", "grad_norm", "num_tokens"):
        assert logged(tmp_path / "broken", name) == logged(tmp_path / "straight", name)
    assert steps_kept(tmp_path / "broken")[-1] == steps_kept(tmp_path / "straight")[-1]
