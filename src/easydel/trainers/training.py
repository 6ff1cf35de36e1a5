"""Training as it was planned: from the newest checkpoint or the beginning, through the loop, to its result."""

from easydel.data.loader import Loader, Position
from easydel.errors import Interrupted
from easydel.processes import is_first
from easydel.trainers.compile_ahead import compile_training
from easydel.trainers.dataset_summary import write_data
from easydel.trainers.datasets import TrainSet
from easydel.trainers.end_summary import write_run_report
from easydel.trainers.loop import Loop
from easydel.trainers.loop_context import LoopContext, LoopResult
from easydel.trainers.optimizer import optimizer_of, schedule_of
from easydel.trainers.profiler import Profiler
from easydel.trainers.record.checkpoint import Checkpointer
from easydel.trainers.record.run_folder import RunFolder
from easydel.trainers.resume import starting_point
from easydel.trainers.run_plan import RunPlan
from easydel.trainers.start_summary import RunHeader, device_table, make_log
from easydel.trainers.step_functions import make_train_step
from easydel.trainers.train_state import TrainState


def prepare_reference(plan: RunPlan, data: TrainSet) -> None:
    """Computes what training on `data` must know of the reference, whose weights are released where that is all."""
    if isinstance(data.loader, Loader):  # a stream whose rows would have to be known was refused
        plan.reference.prepare(data.name, data.loader, max_batches=data.intervals.total_steps)
    plan.evaluator.prepare(plan.eval_sets)
    plan.reference.release()


def run_training(
    plan: RunPlan, data: TrainSet, folder: RunFolder, checkpointer: Checkpointer
) -> tuple[int, LoopResult]:
    """Trains from the newest checkpoint, or the beginning; returns the step it started after, and what it left.

    Raises:
        Interrupted: a signal asked the run to end; what was done is saved.
        ConfigError: the checkpoint is of another run, or too many steps in a row were skipped.
        Exception: any other, see `Loop.run`.
    """
    config = plan.config
    own = plan.extensions
    schedule = own.schedule or schedule_of(config, data.intervals)
    optimizer = optimizer_of(config, schedule, plan.model, plan.partition, own.optimizer)
    initial = starting_point(plan, optimizer, folder, checkpointer)
    step = make_train_step(
        plan.forward,
        plan.objective,
        optimizer,
        initial.state,
        dropout=not config.disable_dropout or plan.model.decoder.adapter_dropout > 0,
        partition=plan.partition,
    )
    start = int(initial.state.step)
    header = RunHeader(plan=plan, summaries=plan.summaries(), folder=folder, done=start)
    _announce(plan, header, initial.state)
    place, steps = Position(initial.progress.epoch, initial.progress.batch), data.intervals.total_steps - start
    # One process of several is enough to see what a step does; two of one machine would write the same file.
    profiler = Profiler(folder.path / "profile", config.profile_steps if is_first() else None, ahead=steps)
    with (
        profiler,
        compile_training(plan, step, initial.state, place, steps) as ahead,
        make_log(header) as log,
    ):
        context = LoopContext(
            plan=plan,
            data=data,
            train_step=step,
            compiling=ahead,
            schedule=schedule if own.optimizer is None else own.schedule,
            folder=folder.path,
            checkpointer=checkpointer,
            log=log,
            profiler=profiler,
        )
        try:
            return start, Loop(context, initial).run()
        except (Interrupted, Exception) as error:  # how far it came, and what it looked like where steps were skipped
            try:
                write_data(folder.path, plan.summaries())
                write_run_report(folder.path, plan.model, {})
            except OSError as failure:
                error.add_note(f"The report could not be written: {failure}")
            raise


def _announce(plan: RunPlan, header: RunHeader, state: TrainState) -> None:
    """Shows what is trained, and on a mesh what lies on each device."""
    plan.display.event("start", header.values(), header.text(), header.marked())
    mesh = plan.model.decoder.mesh
    if mesh.size > 1:
        held = {"weights": (state.params, plan.frozen), "reference": plan.reference.params}
        computed = {name: plan.needed_memory[name] for name in ("activations", "logits")}
        plan.display.say(device_table(mesh, {**held, "optimizer": state.opt_state}, computed))
