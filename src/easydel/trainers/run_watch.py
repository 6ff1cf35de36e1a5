"""A run that watches itself: it looks for `warning_signs` in what it logs, says each once, and may end at one."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from easydel.data.pair import Pair
from easydel.errors import warn
from easydel.trainers.datasets import EvalSet
from easydel.trainers.fingerprints import weights_fingerprints
from easydel.trainers.loop_context import LoopContext
from easydel.trainers.record.files import append_lines, read_signs, so_far
from easydel.trainers.warning_signs import GRADIENTS_KEPT, SIGNS, LengthRule, Seen

_BEHIND = 4  # steps that may be under way: the device should always have some to do
_UPDATES_THAT_MOVE = 4  # the rate of the first may be 0, and half of an adapter has no gradient while the other is 0


class RunWatch:
    """Looks for the signs of one run at every line that it logs.

    Args:
        context: that of its loop.
        params: the trained weights at the start.
        step: the updates that lie behind.
        entries: logged objects of the run so far, and `answers` its sample answers.

    Attributes:
        stopped_by: the sign that ends the run, "" while none does.
    """

    def __init__(
        self,
        context: LoopContext,
        params: PyTree,
        *,
        step: int,
        entries: Sequence[Mapping[str, Any]],
        answers: Sequence[Mapping[str, Any]],
    ) -> None:
        config = context.plan.config
        self._context, self._stop_on = context, config.stop_on_signs
        self._entries, self._answers = list(entries), list(answers)
        self._rules = {name: length_rule(_pairs_of(each, config)) for name, each in context.plan.eval_sets.items()}
        # One that follows the policy is equal to it again and again.
        self._fixed_reference = config.needs_reference and not config.sync_ref_model
        self._waiting: deque[tuple[int, Float[Array, ""]]] = deque()
        self._norms: deque[tuple[int, float]] = deque(maxlen=GRADIENTS_KEPT)
        self._adapters = adapter_fingerprints(params)
        self._began, self._unmoved = step, list[str]()
        self._said = {entry["sign"] for entry in so_far(read_signs, context.folder, step)}
        self.stopped_by = next((sign for sign in self._stop_on if sign in self._said), "")
        self._say_if_over(step)

    def add(self, step: int, grad_norm: Float[Array, ""]) -> None:
        """Takes a step and its gradient norm, and looks at one that is done, without holding up the device."""
        self._waiting.append((step, grad_norm))
        if len(self._waiting) > _BEHIND:
            done, norm = self._waiting.popleft()
            value = float(jax.device_get(norm))
            if np.isfinite(value):
                self._norms.append((done, value))
                self._look(step, only=("gradient_spike",))

    def log(self, step: int, metrics: Mapping[str, float], params: PyTree) -> None:
        """Takes a line of the log, and the weights of that step."""
        self._entries.append({"step": step, **metrics})
        if self._adapters and step - self._began >= _UPDATES_THAT_MOVE:
            now = adapter_fingerprints(params)
            self._unmoved = [name for name, digest in self._adapters.items() if now[name] == digest]
            self._adapters = {}
        self._look(step)

    def answer(self, step: int, answers: Sequence[Mapping[str, Any]]) -> None:
        """Takes answers to the sample prompts."""
        self._answers.extend(answers)
        self._look(step, only=("answers_longer", "answers_repeat"))

    def _look(self, step: int, only: Sequence[str] = tuple(SIGNS)) -> None:
        seen = Seen(
            step,
            self._context.data.intervals.total_steps,
            self._entries,
            self._context.plan.config.beta,
            self._fixed_reference,
            list(self._norms),
            self._rules,
            self._answers,
            self._unmoved,
        )
        for sign in only:
            message = "" if sign in self._said else SIGNS[sign](seen)
            if message:
                self._say(step, sign, message)

    def _say(self, step: int, sign: str, message: str) -> None:
        self._said.add(sign)
        append_lines(self._context.folder / "signs.jsonl", [{"step": step, "sign": sign, "message": message}])
        self._context.log.sign(step, sign)
        warn(f"Step {step}, {sign}: {message}")
        if sign in self._stop_on and not self.stopped_by:
            self.stopped_by = sign
            self._say_if_over(step)

    def _say_if_over(self, step: int) -> None:
        if self.stopped_by:
            self._context.log.say(
                f"Stopped after step {step} of {self._context.data.intervals.total_steps} by {self.stopped_by} "
                "(stop_on). resume = 'auto' without it in stop_on goes on."
            )


def length_rule(pairs: Sequence[Pair]) -> LengthRule:
    """Returns how often the better one of "the longer wins" and "the shorter wins" is right; a tie counts as half.

    Of no pairs it is half of the time.
    """
    chosen = np.asarray([len(pair.chosen) - pair.chosen_context for pair in pairs], int)
    rejected = np.asarray([len(pair.rejected) - pair.rejected_context for pair in pairs], int)
    longer = 0.5 + 0.5 * float(np.sign(chosen - rejected).mean()) if len(pairs) else 0.5
    return LengthRule(len(pairs), max(longer, 1.0 - longer))


def _pairs_of(data: EvalSet, config: Any) -> Sequence[Pair]:
    """Returns the pairs that an evaluation looks at: all, where it is not cut short."""
    steps = config.max_evaluation_steps
    if steps is None or steps >= data.loader.steps_per_epoch:
        return data.loader.pairs
    return data.loader.pairs[: steps * data.loader.layout.total_batch_size]


def adapter_fingerprints(params: PyTree) -> dict[str, str]:
    """Returns a hash of each array of adapters among trained weights, by its place in the tree."""
    found = {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree.leaves_with_path(params)
        if "lora" in jax.tree_util.keystr(path[-1:])
    }
    return dict(zip(found, weights_fingerprints(*found.values()), strict=True)) if found else {}
