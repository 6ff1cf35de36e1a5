"""What is compiled in the background is what the run calls, and it is compiled once."""

import logging
import threading

import jax
import pytest

import easydel as ed
from easydel.models.causal_lm import CausalLM
from easydel.sharding import make_mesh
from easydel.trainers.compile_ahead import CompileAhead
from oracles.runs import TINY, config, id_rows, trainer


def test_a_job_that_has_not_begun_is_left_to_the_caller():
    begun, go_on, ran = threading.Event(), threading.Event(), []

    def slow():
        begun.set()
        go_on.wait(10)

    with CompileAhead([("slow", slow), ("waiting", lambda: ran.append(1))], threads=1) as ahead:
        begun.wait(10)
        ahead.wait("waiting")  # returns although the only thread is busy
        go_on.set()
        ahead.wait("slow")
    assert not ran


def test_what_a_job_raises_is_raised_where_it_is_waited_for():
    begun = threading.Event()

    def fail():
        begun.set()
        raise ValueError("the compiler's error")

    with CompileAhead([("a", fail)], threads=1) as ahead:
        begun.wait(10)
        with pytest.raises(ValueError, match="error"):
            ahead.wait("a")


@pytest.mark.parametrize("options", [{}, {"reference_free": True}, {"sync_ref_model": True, "ref_model_sync_steps": 1}])
def test_a_run_compiles_each_program_once(tmp_path, caplog, options):
    run = trainer(tmp_path, rows=48, do_last_save=False, **options)
    forms = check_compiled_once(run, caplog)
    assert forms == 1  # a device that stops where the tokens end needs no other


def test_a_run_on_several_devices_compiles_a_program_for_each_shape_once(tmp_path, caplog):
    model = CausalLM.from_config(TINY, mesh=make_mesh((1, 2, 1, 1, 1)))
    run = ed.DPOTrainer(arguments=config(tmp_path, do_last_save=False), model=model, train_dataset=id_rows(48))
    assert check_compiled_once(run, caplog) > 1


def check_compiled_once(run, caplog):
    """Trains, and returns how many shapes the batches had."""
    jax.config.update("jax_log_compiles", True)  # in every thread
    try:
        with caplog.at_level(logging.WARNING, logger="jax"):
            run.train()
    finally:
        jax.config.update("jax_log_compiles", False)
    compiled = [record.getMessage() for record in caplog.records if "Finished XLA compilation" in record.getMessage()]
    forms = len({batch.tokens.shape for _, batch in run._plan.data.loader.batches()})
    assert sum("train_step" in message for message in compiled) == forms
    asked = run.arguments.needs_reference
    assert sum("reference_step" in message for message in compiled) == (forms if asked else 0)
    return forms
