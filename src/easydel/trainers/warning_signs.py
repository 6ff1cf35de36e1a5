"""Signs that a run goes wrong, each a function of what the run has logged so far: what is wrong, and what to do.

A sign is one function and one row of `SIGNS`. They look at numbers that the run has anyway, and are silent while there
are too few of them; `docs/curves.md` shows runs that have them.
"""

import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Points = list[tuple[int, float]]


class LengthRule(NamedTuple):
    """What length alone says about an eval set."""

    pairs: int
    accuracy: (
        float  # of "the longer completion is the chosen one", or of "the shorter one", whichever is right more often
    )


class Seen(NamedTuple):
    """What a run has shown of itself so far."""

    step: int
    total_steps: int
    entries: Sequence[Mapping[str, float | None]]  # as in metrics.jsonl, oldest first
    beta: float
    # Whether rewards are against a reference that stays as it is.
    fixed_reference: bool = True
    # Gradient norms of the last steps, oldest first, as (step, norm).
    grad_norms: Sequence[tuple[int, float]] = ()
    # By how the names of their metrics begin.
    length_rules: Mapping[str, LengthRule] = {}
    # Answers to the sample prompts: `step`, `prompt`, `answer`.
    answers: Sequence[Mapping[str, Any]] = ()
    # Adapters that are the same bits as at the start although they were trained.
    unmoved: Sequence[str] = ()

    def points(self, metric: str) -> Points:
        """Returns the finite values of a metric by step."""
        found = ((entry["step"], entry.get(metric)) for entry in self.entries)
        return [(int(step or 0), value) for step, value in found if value is not None and math.isfinite(value)]


LINES_OF_A_STATE = 3
"""Logged lines in a row that must agree before a state is called one."""
GRADIENTS_KEPT, _FEWEST_GRADIENTS, _SPIKE = 50, 20, 5.0
_UPDATES_BEFORE_STILL = 3  # the rate of the first may be 0, and what the second changes is seen by the third
_FEWEST_PAIRS, FEWEST_PROMPTS, _FEWEST_WORDS = 50, 8, 8


def chosen_falling(seen: Seen) -> str:
    """Returns a message where the chosen completions became far less likely while the margin rises.

    Far is half of their log-probability under the reference: a perplexity of 8 has become one of 22.
    """
    drops = _chosen_drops(seen)
    margins = [value for _, value in seen.points("rewards/margins")]
    if len(drops) < 2 or len(margins) < 2 or margins[-1] <= margins[0]:
        return ""
    if any(drop < 0.5 * at_first or drop < 1.0 for drop, at_first in drops[-2:]):
        return ""
    drop, at_first = drops[-1]
    return (
        f"the chosen completions are {drop:.3g} nats less likely than at first, when their log-probability was "
        f"{-at_first:.3g}, while the reward margin rises: the model unlearns both completions. Lower learning_rate, "
        "raise beta, or add their likelihood to the loss (rpo_alpha)."
    )


def _chosen_drops(seen: Seen) -> list[tuple[float, float]]:
    """Returns how many nats the chosen completions have lost at each point, and how many they cost at first.

    By an eval set, which has the same pairs at every point, or else by the rewards of the trained pairs.
    """
    for name in seen.length_rules:
        logps = [value for _, value in seen.points(f"{name}_logps/chosen")]
        if len(logps) > 1:
            return [(logps[0] - value, -logps[0]) for value in logps[1:]]
    if not seen.fixed_reference:
        return []
    changes = [-reward / seen.beta for _, reward in seen.points("rewards/chosen")]
    logps = [value for _, value in seen.points("logps/chosen")]
    return [(drop, -logp - drop) for drop, logp in zip(changes, logps, strict=False)]


def margins_saturated(seen: Seen) -> str:
    """Returns a message where nearly all pairs are won and hardly any gradient is left."""
    norms, accuracies = seen.points("grad_norm"), seen.points("rewards/accuracies")
    if len(norms) < 2 * LINES_OF_A_STATE or len(accuracies) < LINES_OF_A_STATE:
        return ""
    before, last = max(value for _, value in norms[:LINES_OF_A_STATE]), norms[-LINES_OF_A_STATE:]
    if any(value > 0.01 * before for _, value in last):
        return ""
    if any(value < 0.99 for _, value in accuracies[-LINES_OF_A_STATE:]):
        return ""
    return (
        f"{accuracies[-1][1]:.1%} of the trained pairs are won and the gradient norm, {last[-1][1]:.2g}, is less than "
        f"a hundredth of the {before:.2g} at first: what is trained on from here teaches next to nothing. Train fewer "
        "steps, lower learning_rate, or raise label_smoothing if the loss has it."
    )


def overfitting(seen: Seen) -> str:
    """Returns a message where the loss of an eval set rises again and again while that of training falls."""
    for name in seen.length_rules:
        evals = seen.points(f"{name}_loss")
        if len(evals) < 3:
            continue
        (_, first), *_ = evals
        best_step, best = min(evals, key=lambda point: point[1])
        (_, third), (_, second), (_, last) = evals[-3:]
        since = [value for step, value in seen.points("loss") if step > best_step]
        half = len(since) // 2
        falls = half > 0 and statistics.fmean(since[-half:]) < statistics.fmean(since[:half])
        if third < second < last and last > best + 0.02 * max(abs(best), abs(first)) and falls:
            return (
                f"{name}_loss rises, from {best:.4g} at step {best_step} to {last:.4g}, while the training loss falls: "
                "the run learns its pairs by heart. Keep the best evaluation (best_metric = "
                f"'{name}_loss', early_stopping_patience), train fewer epochs, or lower learning_rate."
            )
    return ""


def length_only(seen: Seen) -> str:
    """Returns a message where, in the second half of a run, eval accuracy is what a rule about length alone gives.

    Within two standard errors of the rule's accuracy: for `n` pairs and accuracy `p`, sqrt(p (1 - p) / n) each.
    """
    if 2 * seen.step < seen.total_steps:
        return ""
    for name, rule in seen.length_rules.items():
        accuracies = [value for _, value in seen.points(f"{name}_rewards/accuracies")]
        if len(accuracies) < 2 or rule.pairs < _FEWEST_PAIRS:
            continue
        noise = 2.0 * math.sqrt(max(rule.accuracy * (1.0 - rule.accuracy), 0.25 / rule.pairs) / rule.pairs)
        if accuracies[-1] <= rule.accuracy + noise:
            return (
                f"{accuracies[-1]:.3f} of the pairs of {name} are won, and a rule that looks at the length of the "
                f"completions alone wins {rule.accuracy:.3f} of these {rule.pairs} (noise {noise:.3f}): nothing "
                "shows that more than length is learned. Train on pairs of like lengths, or try ld_alpha."
            )
    return ""


def answers_longer(seen: Seen) -> str:
    """Returns a message where the answers to the sample prompts grow longer: by a fifth, and by twice the noise."""
    pairs = _first_and_last(seen.answers)
    if len(pairs) < FEWEST_PROMPTS:
        return ""
    before = [len(first.split()) for first, _ in pairs]
    growth = [len(last.split()) - count for (_, last), count in zip(pairs, before, strict=True)]
    mean, at_first = statistics.fmean(growth), statistics.fmean(before)
    if mean < max(0.2 * at_first, 1.0) or mean < 2.0 * statistics.stdev(growth) / math.sqrt(len(growth)):
        return ""
    return (
        f"the answers to {len(pairs)} sample prompts have {at_first + mean:.3g} words on average, and had "
        f"{at_first:.3g} at first: look whether the longer completion is the chosen one in most pairs "
        "(report.html shows the lengths), and try ld_alpha or sigmoid_norm."
    )


def answers_repeat(seen: Seen) -> str:
    """Returns a message where the answers to the sample prompts repeat themselves, and did not at first."""
    pairs = [pair for pair in _first_and_last(seen.answers) if len(_WORD.findall(pair[1])) >= _FEWEST_WORDS]
    if len(pairs) < FEWEST_PROMPTS:
        return ""
    at_first, now = (statistics.fmean(repeated_share(pair[at]) for pair in pairs) for at in (0, 1))
    if now < 0.3 or now < at_first + 0.2:
        return ""
    return (
        f"{now:.0%} of the answers to the sample prompts is said before in the same answer, where it was "
        f"{at_first:.0%} at first: the model breaks down. Lower learning_rate, raise beta, or go back to an earlier "
        "checkpoint."
    )


_WORD = re.compile(r"\w+|[^\w\s]")


def repeated_share(text: str) -> float:
    """Returns the share of the three-word sequences of a text that stand in it before.

    >>> repeated_share("one two three four"), repeated_share("go on and go on and go on and go on")
    (0.0, 0.6666666666666667)
    """
    words = _WORD.findall(text.lower())
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return 1.0 - len(set(triples)) / len(triples) if triples else 0.0


def _first_and_last(answers: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Returns the first and the newest answer to each prompt that was answered more than once."""
    by_prompt: dict[str, list[str]] = {}
    for each in answers:
        by_prompt.setdefault(each["prompt"], []).append(each["answer"])
    return [(given[0], given[-1]) for given in by_prompt.values() if len(given) > 1]


def adapters_unmoved(seen: Seen) -> str:
    """Returns a message where adapters are what they were before they were trained."""
    if not seen.unmoved:
        return ""
    return (
        f"adapters have not moved by a bit in {seen.step} steps: {', '.join(seen.unmoved)}. Either no gradient reaches "
        "them, or learning_rate is too small for the dtype that they are kept in (param_dtype)."
    )


def gradient_spike(seen: Seen) -> str:
    """Returns a message where the gradient norm of a step is many times the greatest of the steps before it."""
    *before, (step, last) = seen.grad_norms or [(0, 0.0)]
    if len(before) < _FEWEST_GRADIENTS:
        return ""
    greatest = max(value for _, value in before)
    if last <= _SPIKE * greatest:
        return ""
    return (
        f"the gradient norm of step {step} is {last:.3g}, {last / greatest:.3g} times the greatest of the "
        f"{len(before)} steps before it. Set clip_grad, lower learning_rate, and look at the rows of that step."
    )


def nothing_learned(seen: Seen) -> str:
    """Returns a message where rewards are exactly 0 after updates: the first loss, such as ln 2, does not change."""
    rewards = [(entry.get("rewards/chosen"), entry.get("rewards/rejected"), entry) for entry in seen.entries]
    trained = [each for each in rewards if each[2].get("learning_rate")]
    if not seen.fixed_reference or not trained:
        return ""
    chosen, rejected, entry = trained[-1]
    if chosen != 0.0 or rejected != 0.0 or (entry["step"] or 0) < _UPDATES_BEFORE_STILL:
        return ""
    return (
        f"the loss is still exactly that of the first step, {entry.get('loss'):.6g}, and every reward 0: the weights "
        "do not move. learning_rate is too small for the dtype that they are kept in (param_dtype), or chosen and "
        "rejected completions are the same."
    )


SIGNS: Mapping[str, Callable[[Seen], str]] = {
    "chosen_falling": chosen_falling,
    "margins_saturated": margins_saturated,
    "overfitting": overfitting,
    "length_only": length_only,
    "answers_longer": answers_longer,
    "answers_repeat": answers_repeat,
    "adapters_unmoved": adapters_unmoved,
    "gradient_spike": gradient_spike,
    "nothing_learned": nothing_learned,
}
"""Every sign by its name, as `stop_on` has it."""
