"""A trace of a few steps, made with `jax.profiler`: where the time of a step goes, on host and device."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Self

import jax
from jaxtyping import PyTree

WARM = 2  # steps that are let by: the first waits for its program, the second often for another shape


class Profiler:
    """Traces `steps` steps into a folder; use it as a context manager around the run, and `step` around each step.

    Args:
        folder: where the trace goes, as TensorBoard's profiler and xprof read it.
        steps: how many are traced; None traces none.
        ahead: steps that this process has to do. The first two are let by where there are enough.
    """

    def __init__(self, folder: Path, steps: int | None, *, ahead: int) -> None:
        self._folder = folder
        self._left = min(steps or 0, ahead)
        self._warming = min(WARM, ahead - self._left)
        self._tracing = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def step(self, number: int) -> AbstractContextManager[object]:
        """Returns what goes around step `number`, which is marked in the trace if it is one of those traced."""
        if not self._left:
            return nullcontext()
        if self._warming:
            self._warming -= 1
            return nullcontext()
        if not self._tracing:
            jax.profiler.start_trace(self._folder)
            self._tracing = True
        return jax.profiler.StepTraceAnnotation("train", step_num=number)

    def after(self, made: PyTree) -> None:
        """Ends the trace where this was the last step of it, once the device has `made` what it was asked for."""
        if not self._tracing:
            return
        self._left -= 1
        if not self._left:
            jax.block_until_ready(made)
            self._stop()

    def _stop(self) -> None:
        if self._tracing:
            self._tracing = False
            jax.profiler.stop_trace()
