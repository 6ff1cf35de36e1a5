"""The pair as token ids, and how one is cut to length."""

from typing import NamedTuple

from easydel.errors import ConfigError, nearest

TRUNCATION_MODES = ("keep_start", "keep_end")
PROMPT_TOO_LONG = "the prompt alone reaches max_length"


class Pair(NamedTuple):
    """One row as token ids, after truncation. Every side has at least one context and one completion token.

    The context of a side is `prompt`, or the first `*_context` tokens of the side itself where the two sides
    keep different parts of a prompt; then `prompt` is empty.
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
    """Returns the pair cut to the limits.

    `keep_start` cuts the end of the completions, and drops a pair whose prompt alone reaches `max_length`.
    `keep_end` keeps the last `max_length` tokens of each side on its own, so the sides may keep different
    parts of the prompt; of a completion that fills `max_length` the first token left serves as context.

    >>> limits = Limits(max_length=3, truncation_mode="keep_end")
    >>> truncate(Pair([1, 2, 3], [4], [5, 6]), limits).pair[:5]
    ([], [2, 3, 4], [3, 5, 6], 2, 1)
    """
    causes = []
    prompt, chosen, rejected = pair.prompt, pair.chosen, pair.rejected
    if limits.max_prompt_length is not None and len(prompt) > limits.max_prompt_length:
        prompt = prompt[-limits.max_prompt_length :]
        causes.append("max_prompt_length")
    most = limits.max_completion_length
    if most is not None and max(len(chosen), len(rejected)) > most:
        chosen, rejected = chosen[:most], rejected[:most]
        causes.append("max_completion_length")
    pair = pair._replace(prompt=prompt, chosen=chosen, rejected=rejected)
    if limits.max_length is None or len(prompt) + max(len(chosen), len(rejected)) <= limits.max_length:
        return Cut(pair, tuple(causes))
    if limits.truncation_mode == "keep_end":
        return Cut(_keep_end(pair, limits.max_length), (*causes, "max_length"))
    room = limits.max_length - len(prompt)
    if room <= 0:
        return Cut(None, (PROMPT_TOO_LONG,))
    return Cut(pair._replace(chosen=chosen[:room], rejected=rejected[:room]), (*causes, "max_length"))


def _keep_end(pair: Pair, max_length: int) -> Pair:
    chosen_context, chosen = _last(pair.prompt, pair.chosen, max_length)
    rejected_context, rejected = _last(pair.prompt, pair.rejected, max_length)
    if chosen_context == rejected_context:
        return pair._replace(prompt=chosen_context, chosen=chosen, rejected=rejected)
    return pair._replace(
        prompt=[],
        chosen=chosen_context + chosen,
        rejected=rejected_context + rejected,
        chosen_context=len(chosen_context),
        rejected_context=len(rejected_context),
    )


def _last(prompt: list[int], completion: list[int], max_length: int) -> tuple[list[int], list[int]]:
    """The context and completion tokens among the last `max_length`; at least one token is context."""
    if len(completion) >= max_length:
        completion = completion[-max_length:]
        return completion[:1], completion[1:]
    return prompt[max(len(prompt) + len(completion) - max_length, 0) :], completion
