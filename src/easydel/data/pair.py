"""The pair as token ids, and how one is cut to length."""

from typing import NamedTuple

from easydel.errors import ConfigError, nearest

TRUNCATION_MODES = ("keep_start", "keep_end")
PROMPT_TOO_LONG = "the prompt alone reaches max_length"
NO_LOSS = "no token of a completion bears loss"
NO_LOSS_LEFT = "cut to length, no token of a completion bears loss"
Mask = list[bool] | None
"""Which tokens of a completion bear loss; None: all."""


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
    weight: float = 1.0  # multiplies the pair's loss
    margin: float = 0.0  # by how much, in rewards, the chosen answer should win; see `easydel.losses.sigmoid_loss`
    chosen_trained: Mask = None
    rejected_trained: Mask = None

    @property
    def masks(self) -> list[list[bool]]:
        """Which tokens of chosen and of rejected bear loss; nothing where all do."""
        if self.chosen_trained is None and self.rejected_trained is None:
            return []
        return [self.chosen_trained or [], self.rejected_trained or []]


class Limits(NamedTuple):
    """How long a pair may be, in tokens; None is no limit.

    `max_length` is that of prompt and completion together, on each side. `max_prompt_length` keeps the end of
    a prompt, `max_completion_length` the start of a completion; both are applied first.
    """

    max_length: int | None = None
    max_prompt_length: int | None = None
    max_completion_length: int | None = None
    truncation_mode: str = "keep_start"

    def check(self) -> None:
        """Raises ConfigError for limits that leave nothing to train on."""
        for name, least in (("max_length", 2), ("max_prompt_length", 1), ("max_completion_length", 1)):
            limit = getattr(self, name)
            if limit is not None and limit < least:
                raise ConfigError(f"{name} is {limit}; it must be at least {least}, or None for no limit.")
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
    if not _bears_loss(pair):
        return Cut(None, (NO_LOSS,))
    cut = _cut(pair, limits)
    if cut.pair is None or (pair.chosen_trained is None and pair.rejected_trained is None):
        return cut
    if not _bears_loss(cut.pair):
        return Cut(None, (NO_LOSS_LEFT,))
    return cut._replace(pair=_without_needless_masks(cut.pair))


def _cut(pair: Pair, limits: Limits) -> Cut:
    causes = []
    prompt = pair.prompt
    if limits.max_prompt_length is not None and len(prompt) > limits.max_prompt_length:
        prompt = prompt[-limits.max_prompt_length :]
        causes.append("max_prompt_length")
    pair = pair._replace(prompt=prompt)
    most = limits.max_completion_length
    if most is not None and max(len(pair.chosen), len(pair.rejected)) > most:
        pair = _starts(pair, most)
        causes.append("max_completion_length")
    if limits.max_length is None or len(prompt) + max(len(pair.chosen), len(pair.rejected)) <= limits.max_length:
        return Cut(pair, tuple(causes))
    if limits.truncation_mode == "keep_end":
        return Cut(_keep_end(pair, limits.max_length), (*causes, "max_length"))
    room = limits.max_length - len(prompt)
    if room <= 0:
        return Cut(None, (PROMPT_TOO_LONG,))
    return Cut(_starts(pair, room), (*causes, "max_length"))


def _starts(pair: Pair, most: int) -> Pair:
    return pair._replace(
        chosen=pair.chosen[:most],
        rejected=pair.rejected[:most],
        chosen_trained=None if pair.chosen_trained is None else pair.chosen_trained[:most],
        rejected_trained=None if pair.rejected_trained is None else pair.rejected_trained[:most],
    )


def _keep_end(pair: Pair, max_length: int) -> Pair:
    chosen_context, chosen, chosen_trained = _last(pair.prompt, pair.chosen, pair.chosen_trained, max_length)
    rejected_context, rejected, rejected_trained = _last(pair.prompt, pair.rejected, pair.rejected_trained, max_length)
    if chosen_context == rejected_context:
        return pair._replace(
            prompt=chosen_context,
            chosen=chosen,
            rejected=rejected,
            chosen_trained=chosen_trained,
            rejected_trained=rejected_trained,
        )
    return pair._replace(
        prompt=[],
        chosen=chosen_context + chosen,
        rejected=rejected_context + rejected,
        chosen_context=len(chosen_context),
        rejected_context=len(rejected_context),
        chosen_trained=_behind(chosen_context, chosen_trained),
        rejected_trained=_behind(rejected_context, rejected_trained),
    )


def _last(
    prompt: list[int], completion: list[int], trained: Mask, max_length: int
) -> tuple[list[int], list[int], Mask]:
    """The context and completion tokens among the last `max_length`; at least one token is context."""
    if len(completion) >= max_length:
        completion = completion[-max_length:]
        return completion[:1], completion[1:], None if trained is None else trained[1 - max_length :]
    return prompt[max(len(prompt) + len(completion) - max_length, 0) :], completion, trained


def _behind(context: list[int], trained: Mask) -> Mask:
    return None if trained is None else [False] * len(context) + trained


def _bears_loss(pair: Pair) -> bool:
    return all(trained is None or any(trained) for trained in (pair.chosen_trained, pair.rejected_trained))


def _without_needless_masks(pair: Pair) -> Pair:
    """Returns the pair with None for a mask that leaves nothing out: equal pairs are then equal values."""
    chosen, rejected = pair.chosen_trained, pair.rejected_trained
    return pair._replace(
        chosen_trained=None if chosen is None or all(chosen[pair.chosen_context :]) else chosen,
        rejected_trained=None if rejected is None or all(rejected[pair.rejected_context :]) else rejected,
    )
