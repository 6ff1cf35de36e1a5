"""Programs compiled in background threads, while rows are packed and the first steps run.

jax keeps what was compiled for a function and the form of its arguments, so the call that follows finds it.
"""

import os
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Any, Self

import jax
from jax.sharding import Mesh
from jaxtyping import PyTree

from easydel.data.loader import Loader, Position
from easydel.data.pack import Batch
from easydel.display.display import SILENT, Display
from easydel.memory import give_back_freed
from easydel.trainers.interrupt import wait_for
from easydel.trainers.reference import Reference
from easydel.trainers.setup import form_on_mesh, whole_on_mesh
from easydel.trainers.state import TrainState, abstract
from easydel.trainers.step import TrainStep

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def wait(self, key: Hashable) -> None:
        """Returns when the jobs of a key are done, or at once where none has begun: the caller then compiles itself.

        Raises:
            Exception: what a job raised, such as the compiler's complaint.
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


def compile_training(
    step: TrainStep,
    reference: Reference,
    state: TrainState,
    frozen: PyTree,
    loader: Any,
    start: Position,
    steps: int,
    mesh: Mesh,
    display: Display,
) -> CompileAhead:
    """Starts to compile the programs of the next batches of a run; wait for `form_of_batch(batch)`.

    Of a stream nothing is known before it is read. Elsewhere than on CPU one program is compiled at a time, as the
    compiler tries it out on the device.
    """
    threads = (os.cpu_count() or 1) if mesh.devices.flat[0].platform == "cpu" else 1
    if not isinstance(loader, Loader):
        return CompileAhead([], threads=threads, display=display)
    jobs = _jobs(step, reference, state, frozen, loader, start, min(steps, _LOOKED_AT), mesh)
    return CompileAhead(jobs, threads=threads, display=display)


def form_of_batch(batch: Batch) -> tuple[tuple[int, ...], ...]:
    """Returns what a program is compiled for: the shapes of rows and of completion slots."""
    return batch.tokens.shape, batch.source.shape


def _jobs(
    step: TrainStep,
    reference: Reference,
    state: TrainState,
    frozen: PyTree,
    loader: Loader,
    start: Position,
    steps: int,
    mesh: Mesh,
) -> Iterator[Job]:
    form, frozen_form = abstract(state), abstract(frozen)
    met: set[Hashable] = set()
    for _, batch in islice(loader.batches(start, epochs=None), steps):
        key = form_of_batch(batch)
        if key in met:
            continue
        met.add(key)
        arguments = form_on_mesh(batch, mesh)
        logps = jax.ShapeDtypeStruct(batch.lengths.shape, "float32", sharding=whole_on_mesh(mesh))
        yield key, lambda arguments=arguments, logps=logps: step.lower(form, arguments, logps, frozen_form).compile()
        yield key, lambda arguments=arguments: reference.compile(arguments)
        if len(met) == len(loader.plan):
            return  # the other batches take these shapes too, nearly always
