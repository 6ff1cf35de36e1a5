"""The pair as token ids, and how one is cut to length."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from easydel.errors import ConfigError, nearest

TRUNCATION_MODES = ("keep_start", "keep_end")
PROMPT_TOO_LONG = "the prompt alone reaches max_length"
NO_LOSS = "no token of a completion bears loss"
NO_LOSS_LEFT = "cut to length, no token of a completion bears loss"
Mask = list[bool] | None
"""Which tokens of a completion bear loss; None: all."""


class RowNumbers(NamedTuple):
    """The numbers of a row; by default those that change nothing."""

    weight: float = 1.0  # multiplies the pair's loss
    margin: float = 0.0  # by how much, in rewards, the chosen completion should win; see `easydel.losses.margin`
    preference: float = 1.0  # the share of those asked who prefer the chosen completion
    score_gap: float = 0.0  # the score of the chosen completion less that of the rejected one


NEUTRAL = RowNumbers()


class Side(NamedTuple):
    """One of the two completions of a pair, with the context that it has of its own."""

    ids: list[int]
    context: int = 0  # how many of the first ids are context
    trained: Mask = None

    @property
    def completion(self) -> list[int]:
        """The tokens behind the context."""
        return self.ids[self.context :]

    @property
    def slots(self) -> int:
        """How many of the tokens bear loss."""
        return len(self.ids) - self.context if self.trained is None else sum(self.trained)

    @property
    def places(self) -> Int[np.ndarray, "slots"]:
        """Where they are."""
        return np.arange(self.context, len(self.ids)) if self.trained is None else np.flatnonzero(self.trained)


class Pair(NamedTuple):
    """One row as token ids, after truncation. Every side has at least one context and one token that bears loss.

    The context of a side is `prompt`, or the first `*_context` tokens of the side itself where the two sides
    keep different parts of a prompt; then `prompt` is empty. Tokens of a completion that the model is not to write
    (results of tools, turns of a user) are False in `*_trained`, which is as long as the side; context is False there.
    """

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    chosen_context: int = 0
    rejected_context: int = 0
    # number of the row in the source. (Hides tuple.index, which nobody needs on a pair.)
    index: int = -1  # pyright: ignore[reportIncompatibleMethodOverride]
    # Its `RowNumbers`.
    weight: float = NEUTRAL.weight
    margin: float = NEUTRAL.margin
    preference: float = NEUTRAL.preference
    score_gap: float = NEUTRAL.score_gap
    chosen_trained: Mask = None
    rejected_trained: Mask = None

    @property
    def numbers(self) -> RowNumbers:
        """The numbers of its row."""
        return RowNumbers(self.weight, self.margin, self.preference, self.score_gap)

    @property
    def sides(self) -> tuple[Side, Side]:
        """Chosen and rejected."""
        return (
            Side(self.chosen, self.chosen_context, self.chosen_trained),
            Side(self.rejected, self.rejected_context, self.rejected_trained),
        )

    def with_sides(self, chosen: Side, rejected: Side) -> "Pair":
        """Returns the pair with other completions."""
        return self._replace(
            chosen=chosen.ids,
            rejected=rejected.ids,
            chosen_context=chosen.context,
            rejected_context=rejected.context,
            chosen_trained=chosen.trained,
            rejected_trained=rejected.trained,
        )

    @property
    def masks(self) -> list[list[bool]]:
        """Which tokens of chosen and of rejected bear loss; nothing where all do."""
        if self.chosen_trained is None and self.rejected_trained is None:
            return []
        return [self.chosen_trained or [], self.rejected_trained or []]


@dataclass(frozen=True)
class Limits:
    """How long a pair may be, in tokens (default: no limit).

    `max_length` is that of prompt and completion together, on each side. `max_prompt_length` keeps the end of
    a prompt, `max_completion_length` the start of a completion; both are applied first.

    Raises:
        ConfigError: limits that leave nothing to train on.
    """

    max_length: int | None = None
    max_prompt_length: int | None = None
    max_completion_length: int | None = None
    truncation_mode: str = "keep_start"

    def __post_init__(self) -> None:
        for name, minimum in (("max_length", 2), ("max_prompt_length", 1), ("max_completion_length", 1)):
            limit = getattr(self, name)
            if limit is not None and limit < minimum:
                raise ConfigError(f"{name} is {limit}; it must be at least {minimum}, or None for no limit.")
        if self.truncation_mode not in TRUNCATION_MODES:
            raise ConfigError(
                f"truncation_mode {self.truncation_mode!r} is not one of {', '.join(TRUNCATION_MODES)}."
                + nearest(self.truncation_mode, TRUNCATION_MODES)
            )


class Cut(NamedTuple):
    """A pair after truncation, None if dropped, and why it was cut or dropped."""

    pair: Pair | None
    causes: tuple[str, ...]


def truncate(pair: Pair, limits: Limits) -> Cut:
    """Returns the pair cut to the limits, its masks with it; dropped where a side has no token left that bears loss.

    `keep_start` cuts the end of the completions, and drops a pair whose prompt alone reaches `max_length`.
    `keep_end` keeps the last `max_length` tokens of each side on its own, so the sides may keep different
    parts of the prompt; of a completion that fills `max_length` the first token left serves as context.

    >>> limits = Limits(max_length=3, truncation_mode="keep_end")
    >>> truncate(Pair([1, 2, 3], [4], [5, 6]), limits).pair[:5]
    ([], [2, 3, 4], [3, 5, 6], 2, 1)
    >>> truncate(Pair([1], [2, 3], [4, 5], chosen_trained=[False, True]), Limits(max_completion_length=1))
    Cut(pair=None, causes=('cut to length, no token of a completion bears loss',))
    """
    if not all(side.slots for side in pair.sides):
        return Cut(None, (NO_LOSS,))
    cut = _cut(pair, limits)
    if cut.pair is None or not pair.masks:
        return cut
    sides = cut.pair.sides
    if not all(side.slots for side in sides):
        return Cut(None, (NO_LOSS_LEFT,))
    # Without masks that leave nothing out, equal pairs are equal values.
    chosen, rejected = (side if side.slots < len(side.completion) else side._replace(trained=None) for side in sides)
    return cut._replace(pair=cut.pair.with_sides(chosen, rejected))


def _cut(pair: Pair, limits: Limits) -> Cut:
    causes = []
    if limits.max_prompt_length is not None and len(pair.prompt) > limits.max_prompt_length:
        pair = pair._replace(prompt=pair.prompt[-limits.max_prompt_length :])
        causes.append("max_prompt_length")
    limit = limits.max_completion_length
    if limit is not None and max(len(pair.chosen), len(pair.rejected)) > limit:
        pair = _starts(pair, limit)
        causes.append("max_completion_length")
    longest = len(pair.prompt) + max(len(pair.chosen), len(pair.rejected))
    if limits.max_length is None or longest <= limits.max_length:
        return Cut(pair, tuple(causes))
    if limits.truncation_mode == "keep_end":
        return Cut(_keep_end(pair, limits.max_length), (*causes, "max_length"))
    room = limits.max_length - len(pair.prompt)
    if room <= 0:
        return Cut(None, (PROMPT_TOO_LONG,))
    return Cut(_starts(pair, room), (*causes, "max_length"))


def _starts(pair: Pair, length: int) -> Pair:
    chosen, rejected = (
        side._replace(ids=side.ids[:length], trained=side.trained and side.trained[:length]) for side in pair.sides
    )
    return pair.with_sides(chosen, rejected)


def _keep_end(pair: Pair, max_length: int) -> Pair:
    (context, chosen), (other, rejected) = (_last(pair.prompt, side, max_length) for side in pair.sides)
    if context == other:
        return pair._replace(prompt=context).with_sides(chosen, rejected)
    return pair._replace(prompt=[]).with_sides(_behind(context, chosen), _behind(other, rejected))


def _last(prompt: list[int], side: Side, max_length: int) -> tuple[list[int], Side]:
    """The context and completion tokens among the last `max_length`; at least one token is context."""
    if len(side.ids) >= max_length:
        context, *ids = side.ids[-max_length:]
        return [context], Side(ids, trained=side.trained and side.trained[1 - max_length :])
    return prompt[max(len(prompt) + len(side.ids) - max_length, 0) :], side


def _behind(context: list[int], side: Side) -> Side:
    trained = None if side.trained is None else [False] * len(context) + side.trained
    return Side(context + side.ids, len(context), trained)
