"""What a row of the table is."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Row(NamedTuple):
    """One figure of a compiled program.

    Attributes:
        name: by which `--rows` asks for it.
        what: is measured, and its unit.
        device: a name of `devices.DEVICES`.
        before: the figure when the target was set, or None.
        target: the most that it should be, or None for one to compare with.
        measure: `(devices, small) -> figure`; `small` takes sizes that show that the program compiles, and counts that
            do not depend on the size.
    """

    name: str
    what: str
    device: str
    before: float | None
    target: float | None
    measure: Callable[[Any, bool], float]
