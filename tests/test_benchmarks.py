"""The benchmark: turns and clocks, what it says of losses, its arithmetic, and the whole script on a tiny model."""

import doctest
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import jax
import pytest

import benchmarks.pairs
import benchmarks.systems
import benchmarks.tables
from benchmarks import kernels, memory
from benchmarks.flops import layout_of
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.lengths import random_rows, word_tokenizer
from benchmarks.models import MADE, random_weights
from benchmarks.pairs import Limits, TooFewPairsError, first_rows, tokens_per_batch
from benchmarks.report import Figures, agreement, figures, ratio_lines, same_tokens
from benchmarks.shapes import SHAPES
from benchmarks.systems import Run, Settings, our_command, runs
from benchmarks.turns import Step, Worker, WorkerError
from easydel import quickstart
from easydel.data.pack import Shape
from easydel.data.pair import Pair
from easydel.models.config import ModelConfig
from easydel.scripts.finetune.command_line import parse
from easydel.sharding import make_mesh
from easydel.trainers.config import DPOConfig

ROOT = Path(__file__).parents[1]
WHOLE = Limits(512)

# Reports a loss after every tenth of a second of work, slowly enough to be caught between two.
COUNTS = """
import json, sys, time
for step in range(100):
    while time.process_time() < 0.1 * (step + 1):
        pass
    with open(sys.argv[1], "a") as file:
        file.write(json.dumps({"step": step + 1, "loss": float(step)}) + "\\n")
"""


def worker(folder: Path, code: str) -> Worker:
    steps = folder / "steps.jsonl"
    return Worker("it", [sys.executable, "-c", code, str(steps)], os.environ, steps, folder / "output.txt")


def lines(folder: Path) -> int:
    return len((folder / "steps.jsonl").read_text().splitlines())


def figure(system: str = "ours", losses: tuple[float, ...] = (0.7, 0.6), rate: float = 1.0) -> Figures:
    return Figures(system, "512", 9.0, None, [1.0], 1.0, rate, 100.0, 10.0, 10**9, list(losses))


@pytest.mark.parametrize("module", [benchmarks.pairs, benchmarks.systems, benchmarks.tables])
def test_examples_hold(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


def test_a_worker_stands_still_outside_its_turns_and_so_does_its_clock(tmp_path: Path) -> None:
    with worker(tmp_path, COUNTS) as it:
        it.turn(2)
        before = lines(tmp_path)
        time.sleep(1.0)
        assert lines(tmp_path) == before
        began = time.perf_counter()
        it.turn(3)
        turn = time.perf_counter() - began
    assert [step.loss for step in it.steps[:3]] == [0.0, 1.0, 2.0]
    # The pause of a second is not in it.
    assert 0.0 < it.steps[2].at - it.steps[1].at < turn + 0.1
    assert it.peak_memory is None or it.peak_memory > 10**6


def test_a_worker_that_ends_too_early_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with worker(tmp_path, "import sys; sys.exit('no such model')") as it, pytest.raises(WorkerError, match="no such"):
        it.turn(1)


def test_the_process_of_a_worker_ends_with_it_though_it_is_stopped(tmp_path: Path) -> None:
    with worker(tmp_path, COUNTS) as it:
        it.turn(1)
    before = lines(tmp_path)
    time.sleep(0.3)
    assert lines(tmp_path) == before


def test_figures_leave_out_the_first_step_and_take_the_median_of_the_others() -> None:
    steps = [Step(0.7, 10.0, 8.0), Step(0.6, 12.0, None), Step(0.5, 20.0, None), Step(0.4, 21.0, None)]
    made = figures(Run("ours", WHOLE), steps, None, 8, [1, 100, 800, 200])
    assert made.steps == [2.0, 8.0, 1.0]
    assert (made.first_step, made.first_step_inside, made.whole_run) == (10.0, 8.0, 21.0)
    assert (made.median_step, made.pairs_per_second, made.tokens_per_second) == (2.0, 4.0, 100.0)


@pytest.mark.parametrize(
    ("losses", "share", "agrees", "says"),
    [
        ((0.7, 0.6005), 1.0, True, "agree"),
        ((0.7, 0.61), 0.75, False, "other tokens in 25%"),
        ((0.7, 0.61), 1.0, False, "DIFFER although"),
    ],
)
def test_losses_agree_or_there_is_a_reason_or_it_is_said_loudly(
    losses: tuple[float, ...], share: float, agrees: bool, says: str
) -> None:
    verdict = agreement(figure("trl", losses), figure(), share)
    assert verdict.agrees is agrees
    assert verdict.step == 2
    assert says in verdict.sentence()


def test_tokens_are_the_same_where_only_what_max_length_cuts_differs() -> None:
    pairs = [Pair([1, 2], [3, 4], [5]), Pair([1], [2], [3])]
    trained = [[[1, 2], [3, 4, 9, 9], [5]], [[1], [2], [4]]]
    assert same_tokens(pairs, trained, Limits(4)) == 0.5


def test_ratios_compare_with_our_run_under_the_rivals_limits() -> None:
    shown = ratio_lines({"ours": figure(rate=6.0), "TRL, 512": figure("trl", rate=2.0)})
    assert shown == [
        "ours against TRL, 512: 3.00 times the pairs per second, 1.00 of the memory, first step after 1.00 of the time"
    ]


def test_we_train_once_for_each_kind_of_limits() -> None:
    titles = [run.title for run in runs(("ours", "trl", "trl-stored", "easydel"), Settings())]
    assert [title for title in titles if title.startswith("ours")] == ["ours, 512", "ours, 256 + 256"]
    assert len(titles) == 5
    assert [run.title for run in runs(("ours",), Settings())] == ["ours, 512"]
    assert [run.title for run in runs(("trl",), Settings())] == ["TRL, 512"]


def test_our_command_line_says_what_the_rivals_are_told(tmp_path: Path) -> None:
    command = our_command(Run("ours", WHOLE.halved()), tmp_path, tmp_path, tmp_path, Settings(), 3)
    run, config = parse(command[command.index("easydel.scripts.finetune.dpo") + 1 :])
    assert (run.dtype, run.compilation_cache) == ("float32", False)
    assert (config.max_length, config.max_prompt_length, config.max_completion_length) == (512, 256, 256)
    assert (config.total_batch_size, config.learning_rate, config.beta) == (8, 1e-4, 0.1)
    assert not config.shuffle_train_dataset
    # What TRL and EasyDeL are told in words.
    assert (config.weight_decay, config.clip_grad, config.scheduler, config.log_steps) == (0.0, None, "none", 1)


def test_the_layouts_cost_what_their_formulas_say() -> None:
    """Two pairs in one batch, P C R = 4 3 1 and 2 2 5: longest sequences 7 and 7."""
    pairs = [Pair([1] * 4, [2] * 3, [3]), Pair([1] * 2, [2] * 2, [3] * 5)]
    config = ModelConfig.from_hf(MADE["tiny"].config())
    weights = {name: tensor.size for name, tensor in random_weights(MADE["tiny"]).items()}
    blocks, head = sum(size for name, size in weights.items() if "proj" in name), weights["model.embed_tokens.weight"]

    trl = layout_of("trl", config, pairs, Limits(16), 2)
    assert (trl.block_tokens, trl.head_tokens) == (2 * 7, 2 * 7)
    assert trl.flops == pytest.approx(8 * (blocks + head) * 14)
    assert trl.padding_fraction == pytest.approx(1 - (7 + 5 + 4 + 7) / 28)

    easydel = layout_of("easydel", config, pairs, Limits(16).halved(), 2)
    assert (easydel.block_tokens, easydel.head_tokens) == (2 * 16, 2 * 16)

    ours = layout_of("ours", config, pairs, Limits(16), 2)
    assert ours.needed_flops == pytest.approx(8 * (blocks * (8 + 9) + head * (4 + 7)) / 2)
    assert ours.prefix_shared_fraction == pytest.approx(1 - 17 / 23)
    assert ours.needed_flops <= ours.flops < trl.flops < easydel.flops


def test_rows_without_room_for_a_completion_are_passed_over(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(quickstart.model_folder())
    rows = [{"prompt": prompt, "chosen": "Yes.", "rejected": "No."} for prompt in ("a", "b " * 99, "c", "d")]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [row["prompt"] for row in first_rows(file, tokenizer, 2, 32)] == ["a", "c"]
    with pytest.raises(TooFewPairsError, match="has 3 pairs within 32 tokens; this run needs 4"):
        first_rows(file, tokenizer, 4, 32)


def test_the_memory_of_attention_is_told_by_the_length_of_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert kernels.main(["--lengths", "64,128", "--dtype", "float32"]) == 0
    assert "Attention by 'blockwise', 8 heads of 128" in capsys.readouterr().out


def test_the_memory_of_a_step_is_told_without_any_weight(capsys: pytest.CaptureFixture[str]) -> None:
    """A weight in float32 and two moments in bfloat16 are 8 bytes, and a step changes them in place."""
    assert memory.main(["--shape", "small", "--length", "64", "--choices", "both moments bfloat16"]) == 0
    assert "106,816 weights in float32" in capsys.readouterr().out
    mesh = make_mesh((1, 1, 1, 1, 1))
    model = memory.model_form(
        "small", mesh, dtype="bfloat16", param_dtype="float32", gradient_checkpointing="nothing_saveable"
    )
    batch = memory.batch_form(Shape(1, 64, 64), 2, mesh)
    taken = memory.step_memory(model, batch, DPOConfig(mu_dtype="bfloat16", nu_dtype="bfloat16"))
    assert 8 * 106_816 < taken.arguments < 8 * 106_816 + 5000
    assert taken.arguments <= taken.peak < taken.arguments + taken.temporary + 5000


@pytest.mark.slow
def test_what_is_measured_on_a_gpu_runs_small_on_a_cpu_and_says_so(tmp_path: Path) -> None:
    assert gpu.main(["--out", str(tmp_path / "page.md")]) == 0
    page = (tmp_path / "page.md").read_text()
    assert "**At a small size: this shows that the scripts run here, and nothing of speed.**" in page
    assert page.startswith("# cpu (cpu), jax ")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    errors = [row[2:6] for row in rows if row[1] in ("vanilla", "blockwise")]
    # bfloat16 has 8 bits: what is rounded once is off by up to 2^-9, and a product of a few such by some of these.
    assert len(errors) == 4
    assert all(1e-4 < float(error) < 2**-6 for row in errors for error in row)
    (trained,) = (row for row in rows if row[0] == "small")
    assert all(float(figure.replace(",", "").rstrip("%")) > 0 for figure in trained[1:6])
    assert trained[6] == "peak unknown"


def test_random_pairs_are_within_the_length_and_one_token_is_one_word() -> None:
    rows = random_rows(200, 1000, 300)
    pairs = benchmarks.pairs.cut_pairs(rows, word_tokenizer(1000), Limits(300))
    assert len(pairs) == 200
    for pair, row in zip(pairs, rows, strict=True):
        assert len(pair.prompt) == len(row["prompt"].split()) <= 150
        assert len(pair.chosen) == len(row["chosen"].split()) + 1  # the end
        assert len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)) <= 300


def test_the_sizes_of_published_models_are_theirs() -> None:
    weights = {name: sum(leaf.size for leaf in leaves_of(name)) for name in SHAPES}
    assert weights["llama-3.1-8b"] == 8_030_261_248
    assert weights["llama-3.2-1b"] == 1_235_814_400
    assert weights["qwen2.5-0.5b"] == 494_032_768


def leaves_of(name: str) -> list[jax.ShapeDtypeStruct]:
    options = {"dtype": "bfloat16", "param_dtype": "float32", "gradient_checkpointing": ""}
    return jax.tree.leaves(memory.model_form(name, make_mesh((1, 1, 1, 1, 1)), **options).params)


def test_tokens_count_the_prompt_once_for_each_side() -> None:
    assert tokens_per_batch([Pair([1, 2], [3], [4, 5]), Pair([1], [2], [3])], 1) == [7, 4]


@pytest.mark.slow
def test_the_whole_script_trains_a_tiny_model(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--build", str(tmp_path), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out.json").read_text())
    (run,) = result["models"]["tiny"]["runs"].values()
    assert run["losses"][0] == pytest.approx(0.6931472, rel=1e-5)
    assert len(run["losses"]) == result["steps"] == 2
    assert run["median_step"] == pytest.approx(statistics.median(run["steps"]))
    assert run["pairs_per_second"] == pytest.approx(result["settings"]["batch_size"] / run["median_step"])
    assert str(tmp_path) not in (tmp_path / "out.md").read_text()  # nothing of this machine's folders
