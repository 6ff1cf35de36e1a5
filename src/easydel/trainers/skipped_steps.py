"""Steps that were skipped as their loss or gradient was not finite: of which rows they were, and when it is enough."""

from collections import deque
from pathlib import Path

import jax
from jaxtyping import Array, Float

from easydel.data.pack import Batch
from easydel.trainers.record.files import append_lines

FILE = "skipped.jsonl"
_BEHIND = 4  # steps that may be under way: the device should always have some to do


class SkippedSteps:
    """Looks at every step for whether it was skipped, without holding up the device; writes `skipped.jsonl`.

    Args:
        folder: the run folder.
        max_in_a_row: skipped steps in a row after which the run ends; None goes on for ever.
        in_a_row: steps skipped one after the other up to where the run is continued.

    Attributes:
        message: why the run should end; "" while it should not.
    """

    def __init__(self, folder: Path, *, max_in_a_row: int | None, in_a_row: int = 0) -> None:
        self._file, self._max_in_a_row = folder / FILE, max_in_a_row
        self._waiting: deque[tuple[int, Batch, Float[Array, ""]]] = deque()
        self._in_a_row = in_a_row
        self.message = ""

    def add(self, step: int, batch: Batch, skipped: Float[Array, ""]) -> None:
        """Takes a step and what it says of itself: 1 where it was skipped."""
        self._waiting.append((step, batch, skipped))
        if len(self._waiting) > _BEHIND:
            self._look(*self._waiting.popleft())

    def in_a_row(self) -> int:
        """Returns how many steps up to the last were skipped one after the other; waits for the device."""
        while self._waiting:
            self._look(*self._waiting.popleft())
        return self._in_a_row

    def _look(self, step: int, batch: Batch, skipped: Float[Array, ""]) -> None:
        if not float(jax.device_get(skipped)):
            self._in_a_row = 0
            return
        self._in_a_row += 1
        append_lines(self._file, [{"step": step, "rows": batch.index[batch.index >= 0].tolist()}])
        if self._max_in_a_row is not None and self._in_a_row >= self._max_in_a_row and not self.message:
            self.message = (
                f"{self._in_a_row} steps in a row, up to step {step}, were skipped, as their loss or gradient was not "
                f"finite (max_skipped_steps = {self._max_in_a_row}). {self._file} names the rows of their batches: "
                "look at these, lower learning_rate, or set clip_grad. What was trained before is saved."
            )
