"""From steps to figures: medians, rates, ratios, and whether the programs follow the same losses."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from benchmarks.pairs import Limits
from benchmarks.shapes import SHAPES
from benchmarks.systems import TITLES, Run
from benchmarks.tables import table
from benchmarks.turns import Step
from easydel.data.pair import Pair

TOLERANCE = 1e-3
"""How far losses may be apart on the same tokens."""


@dataclasses.dataclass(frozen=True)
class Figures:
    """What came out of one run on one model; times in seconds."""

    system: str
    limits: str
    first_step: float  # from the start of the process to the end of its first step
    first_step_inside: float | None  # of that, the first step by the program's own account: compilation
    steps: list[float]  # every step after the first
    median_step: float
    pairs_per_second: float  # at the median step
    tokens_per_second: float  # of prompt + chosen and prompt + rejected; the median of the steps
    whole_run: float  # from the start of the process to the end of its last step
    peak_memory: int | None  # bytes of the process
    losses: list[float]


def figures(run: Run, steps: Sequence[Step], memory: int | None, batch_size: int, tokens: list[int]) -> Figures:
    """Returns the figures of a run; `tokens` are those of each batch."""
    ends = [step.at for step in steps]
    later = [end - before for before, end in pairwise(ends)]
    median = statistics.median(later)
    return Figures(
        system=run.system,
        limits=run.limits.title(),
        first_step=ends[0],
        first_step_inside=steps[0].inside,
        steps=later,
        median_step=median,
        pairs_per_second=batch_size / median,
        tokens_per_second=statistics.median(count / s for count, s in zip(tokens[1:], later, strict=True)),
        whole_run=ends[-1],
        peak_memory=memory,
        losses=[step.loss for step in steps],
    )


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How one program's losses compare with ours under the same limits."""

    system: str
    limits: str
    apart: float  # the largest difference of two losses of a step
    step: int  # where, from 1
    same_tokens: float  # share of the pairs in which both train the same tokens
    agrees: bool

    def sentence(self) -> str:
        """Returns the verdict, and where losses differ the reason if there is one."""
        apart = f"{TITLES[self.system]}, {self.limits}: losses within {self.apart:.1e} of ours (step {self.step})"
        if self.agrees:
            return f"{apart}: agree."
        if self.same_tokens < 1:
            return f"{apart}: differ, because it trains other tokens in {1 - self.same_tokens:.0%} of the pairs."
        return f"{apart}: DIFFER although the tokens are the same."


def agreement(rival: Figures, ours: Figures, same_tokens: float) -> Agreement:
    """Returns how far two runs on the same batches are apart."""
    apart = [abs(a - b) for a, b in zip(rival.losses, ours.losses, strict=True)]
    worst = max(range(len(apart)), key=apart.__getitem__)
    return Agreement(rival.system, rival.limits, apart[worst], worst + 1, same_tokens, apart[worst] <= TOLERANCE)


def same_tokens(pairs: Sequence[Pair], trained: Sequence[Sequence[Sequence[int]]], limits: Limits) -> float:
    """Returns the share of pairs for which a program trains our tokens; `trained` is before `max_length` cuts them."""
    equal = 0
    for pair, (prompt, chosen, rejected) in zip(pairs, trained, strict=True):
        room = limits.max_length - len(prompt)
        equal += (pair.prompt, pair.chosen, pair.rejected) == (prompt, chosen[:room], rejected[:room])
    return equal / len(pairs)


def ratio_lines(runs: Mapping[str, Figures]) -> list[str]:
    """Returns in a sentence each how we compare with every rival under its limits."""
    lines = []
    for title, rival in runs.items():
        ours = next((r for r in runs.values() if r.system == "ours" and r.limits == rival.limits), None)
        if rival.system == "ours" or ours is None:
            continue
        line = f"ours against {title}: {ours.pairs_per_second / rival.pairs_per_second:.2f} times the pairs per second"
        if ours.peak_memory and rival.peak_memory:
            line += f", {ours.peak_memory / rival.peak_memory:.2f} of the memory"
        lines.append(line + f", first step after {ours.first_step / rival.first_step:.2f} of the time")
    return lines


def speed_table(runs: Mapping[str, Figures]) -> str:
    """Returns the figures as a Markdown table."""
    header = ["", "median step, s", "pairs/s", "tokens/s", "start to first step, s", "of it the step, s"]
    header += ["whole run, s", "peak, MB"]
    rows = [
        [
            title,
            f"{run.median_step:.2f}",
            f"{run.pairs_per_second:.2f}",
            f"{run.tokens_per_second:,.0f}",
            f"{run.first_step:.1f}",
            "-" if run.first_step_inside is None else f"{run.first_step_inside:.1f}",
            f"{run.whole_run:.0f}",
            "-" if run.peak_memory is None else f"{run.peak_memory / 1e6:,.0f}",
        ]
        for title, run in runs.items()
    ]
    return table(header, rows)


def loss_table(runs: Mapping[str, Figures]) -> str:
    """Returns the loss of every step as a Markdown table, a row for each step."""
    header = ["step", *runs]
    losses = zip(*(run.losses for run in runs.values()), strict=True)
    return table(header, [[str(at), *(f"{loss:.5f}" for loss in row)] for at, row in enumerate(losses, 1)])


def markdown(result: Mapping[str, Any]) -> str:
    """Returns a whole result, as `results.json` holds it, as a page."""
    machine, settings = result["machine"], result["settings"]
    on_gpu = settings.get("device") == "gpu"
    dtype, memory = ("bfloat16 over float32 weights", "the GPU") if on_gpu else ("float32", "the process")
    lines = [
        "# Benchmark",
        "",
        f"{result['date']}, `{result['command']}`, commit {result['commit'] or 'unknown'}. {machine['processor']}, "
        f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}.",
        "",
        f"Every program trains the same first {result['steps']} batches of {settings['batch_size']} pairs of "
        f"{result['data']} in its order: max_length {settings['max_length']}, {dtype}, AdamW, learning rate "
        f"{settings['learning_rate']:g}. One runs at a time while the others are stopped, {result['steps_per_turn']} "
        "step(s) a turn. EasyDeL gives prompt and completion a fixed half of the length each; against it we train "
        f"with the same limits. The median is over the steps after the first; memory is that of {memory}.",
        "",
    ]
    for system, versions in result["versions"].items():
        lines.append(f"- {system}: " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    for name, model in result["models"].items():
        runs = {title: Figures(**run) for title, run in model["runs"].items()}
        pairs = " Pairs of random words, as long as those of UltraFeedback." if name in SHAPES else ""
        lines += ["", f"## {name}", "", f"{model['weights']:,} weights.{pairs}", "", speed_table(runs), ""]
        lines += [f"- {line}." for line in ratio_lines(runs)]
        lines += [f"- {Agreement(**verdict).sentence()}" for verdict in model["agreement"]]
        lines += ["", loss_table(runs), "", model["arithmetic"]]
    return "\n".join(lines) + "\n"
