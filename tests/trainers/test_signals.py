"""What a signal does to a run: the step is finished and saved, and what follows is as if it had never come."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from typing import Any

import pytest

import easydel as ed
from easydel.errors import Interrupted
from easydel.trainers.record.files import read_metrics
from easydel.trainers.run_plan import RunPlan
from easydel.trainers.signals import listen, wait_for
from oracles.runs import held_out_trainer, same_bits, trainer, without_clock

QUIET = {"do_last_save": False}


@pytest.fixture(autouse=True)
def usual_handlers():
    """What a terminal or a notebook has; tests that are started in the background find SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def signalled(run: ed.DPOTrainer, step: int, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGTERM) -> None:
    """Trains, with a signal that comes while a step is under way."""
    go_on = run.reference.after_step

    def send(now: int, policy: Any) -> None:
        if now == step:
            signal.raise_signal(number)
        go_on(now, policy)

    monkeypatch.setattr(run.reference, "after_step", send)


def handlers() -> list[Any]:
    return [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_run_after_its_step_and_the_run_goes_on_bit_for_bit(tmp_path, monkeypatch, capsys, number):
    options = {"num_train_epochs": 2, "log_steps": 3, "evaluation_steps": 2, **QUIET}
    straight = held_out_trainer(tmp_path / "straight", **options).train()
    run, before = held_out_trainer(tmp_path / "cut", **options), handlers()
    signalled(run, 4, monkeypatch, number)
    name = signal.Signals(number).name
    with pytest.raises(Interrupted, match=f"{name} ended the run after step 4 of 6, which is saved: resume = 'auto'"):
        run.train()
    assert handlers() == before
    second = "" if name == "SIGHUP" else "; a second one ends the run at once"
    assert capsys.readouterr().err == f"{name}: ending after this step, which is saved{second}.\n"
    assert [path.name for path in (tmp_path / "cut" / "dpo" / "checkpoints").iterdir()] == ["4"]
    resumed = held_out_trainer(tmp_path / "cut", resume="auto", **options).train()
    assert same_bits(resumed.model.params, straight.model.params)
    assert without_clock(tmp_path / "cut" / "dpo") == without_clock(tmp_path / "straight" / "dpo")


def test_a_signal_during_an_evaluation_leaves_it_to_the_run_that_continues(tmp_path, monkeypatch):
    options = {"evaluation_steps": 2, **QUIET}
    run, evaluate = held_out_trainer(tmp_path, **options), RunPlan.evaluate

    def send(plan: RunPlan, state: Any) -> dict[str, float]:
        if int(state.step) == 2:
            signal.raise_signal(signal.SIGTERM)
        return evaluate(plan, state)

    monkeypatch.setattr(RunPlan, "evaluate", send)
    with pytest.raises(Interrupted, match="after step 2"):
        run.train()
    assert [entry["step"] for entry in read_metrics(tmp_path / "dpo")] == [0, 1, 2]
    monkeypatch.setattr(RunPlan, "evaluate", evaluate)
    held_out_trainer(tmp_path, resume="auto", **options).train()
    assert [entry["step"] for entry in read_metrics(tmp_path / "dpo") if "eval_loss" in entry] == [0, 2, 3]


def test_a_signal_before_the_first_step_saves_nothing(tmp_path, monkeypatch):
    run = trainer(tmp_path, precompute_ref_log_probs=True, cache_directory=None)
    prepare = run.reference.prepare
    monkeypatch.setattr(
        run.reference, "prepare", lambda *given, **named: (signal.raise_signal(2), prepare(*given, **named))
    )
    with pytest.raises(Interrupted, match="SIGINT ended the run before its first step: there is nothing to save"):
        run.train()
    assert list((tmp_path / "dpo" / "checkpoints").iterdir()) == []


def test_a_second_signal_does_what_it_did_before_the_run():
    with listen():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt) as caught:
            signal.raise_signal(signal.SIGINT)
    assert not isinstance(caught.value, Interrupted)


def test_a_terminal_that_closes_may_say_so_as_often_as_it_likes():
    """A kernel and a shell both send SIGHUP, and systemd sends it behind SIGTERM: none of it is a second request."""
    with listen():
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
        with pytest.raises(Interrupted, match="SIGHUP"):
            wait_for(Future())
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_in_another_thread_a_run_leaves_signals_alone():
    found: list[Any] = []

    def look() -> None:
        with listen():
            found.extend(handlers())

    before = handlers()
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_signal_that_was_ignored_still_is(monkeypatch, number, processes):
    monkeypatch.setattr("easydel.processes.count", lambda: processes)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with listen():
            signal.raise_signal(number)
            done: Future[int] = Future()
            done.set_result(3)
            assert wait_for(done) == 3
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_of_several_processes_all_hear_of_a_signal_by_one_of_them(monkeypatch, number):
    monkeypatch.setattr("easydel.processes.count", lambda: 2)
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))  # jax has a handler there
    try:
        with listen():
            signal.raise_signal(number)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == [signal.SIGTERM]


def test_what_never_comes_is_not_waited_for():
    with listen():
        threading.Timer(0.1, signal.raise_signal, [signal.SIGTERM]).start()
        with pytest.raises(Interrupted):
            wait_for(Future())


BUSY = """
import hashlib, signal, sys
from easydel.trainers.signals import listen
signal.signal(signal.SIGINT, signal.SIG_DFL)
with listen():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # as the compiler: minutes in which Python runs no handler
"""


@pytest.mark.parametrize("hangups", [0, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_process_that_is_busy_in_foreign_code(number, hangups):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05)
    for _ in range(hangups):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.05)
    process.send_signal(number)
    assert "ending after this step, which is saved" in process.stderr.readline()
    time.sleep(0.05)
    assert process.poll() is None
    process.send_signal(number)
    assert process.wait(10) == 128 + number
    process.stdout.close()
    process.stderr.close()
