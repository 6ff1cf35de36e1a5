"""Programs compiled in background threads, while rows are packed and the first steps run.

jax keeps what was compiled for a function and the shapes of its arguments, so the call that follows finds it.
"""

import os
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Self

import jax

from easydel.data.loader import Loader, Position
from easydel.data.pack import Batch
from easydel.display.display import SILENT, Display
from easydel.memory import give_back_freed
from easydel.trainers.batch_placement import abstract_batch, replicated
from easydel.trainers.run_plan import RunPlan
from easydel.trainers.signals import wait_for
from easydel.trainers.step_functions import TrainStep
from easydel.trainers.train_state import TrainState, abstract

Job = tuple[Hashable, Callable[[], object]]
_LOOKED_AT = 32  # batches whose shapes are compiled ahead; a later one with a new shape is waited for


class CompileAhead:
    """Runs jobs in the order given, `threads` at a time; use it as a context manager. Shows that they are waited for.

    >>> with CompileAhead([("a", lambda: None)], threads=1) as ahead:
    ...     ahead.wait("a")
    """

    def __init__(self, jobs: Iterable[Job], *, threads: int, display: Display = SILENT) -> None:
        self._display = display
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="compile")
        self._jobs: dict[Hashable, list[Future[object]]] = {}
        for key, job in jobs:
            self._jobs.setdefault(key, []).append(self._pool.submit(_tidy, job))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def wait(self, key: Hashable) -> None:
        """Returns when the jobs of a key are done, or at once where none has begun: the caller then compiles itself.

        Raises:
            Exception: what a job raised, such as an error of the compiler.
            Interrupted: the run was asked to end.
        """
        begun = [job for job in self._jobs.pop(key, []) if not job.cancel()]
        if not begun:
            return
        with self._display.work("compile", unit="programs", total=len(begun)) as work:
            for job in begun:
                wait_for(job, meanwhile=work.tick)
                work.advance()


def _tidy(job: Callable[[], object]) -> object:
    result = job()
    give_back_freed()
    return result


def compile_training(plan: RunPlan, step: TrainStep, state: TrainState, start: Position, steps: int) -> CompileAhead:
    """Starts to compile the programs of the next batches of a run; wait for `batch_shapes(batch)`.

    Of a stream nothing is known before it is read. Elsewhere than on CPU one program is compiled at a time, as the
    compiler tries it out on the device.
    """
    threads = (os.cpu_count() or 1) if plan.model.decoder.mesh.devices.flat[0].platform == "cpu" else 1
    loader = plan.data.loader
    jobs = _jobs(plan, loader, step, state, start, min(steps, _LOOKED_AT)) if isinstance(loader, Loader) else []
    return CompileAhead(jobs, threads=threads, display=plan.display)


def batch_shapes(batch: Batch) -> tuple[tuple[int, ...], ...]:
    """Returns what a program is compiled for: the shapes of its rows and of its completion positions."""
    return batch.tokens.shape, batch.source.shape


def _jobs(
    plan: RunPlan, loader: Loader, step: TrainStep, state: TrainState, start: Position, steps: int
) -> Iterator[Job]:
    abstract_state, abstract_frozen, mesh = abstract(state), abstract(plan.frozen), plan.model.decoder.mesh
    met: set[Hashable] = set()
    for _, batch in islice(loader.batches(start, epochs=None), steps):
        key = batch_shapes(batch)
        if key in met:
            continue
        met.add(key)
        arguments = abstract_batch(batch, mesh)
        logps = jax.ShapeDtypeStruct(batch.lengths.shape, "float32", sharding=replicated(mesh))
        lower = partial(step.lower, abstract_state, arguments, logps, abstract_frozen)
        yield key, lambda lower=lower: lower().compile()
        yield key, partial(plan.reference.compile, arguments)
        if len(met) == len(loader.layout.plan):
            return  # the other batches take these shapes too, nearly always
