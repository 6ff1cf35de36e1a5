"""What is said when a run is over, worked out by hand."""

from pathlib import Path

from easydel.data.counts import Counts
from easydel.trainers.early_stopping import BestEvaluation, BestMetric
from easydel.trainers.end_summary import facts_of, summary
from easydel.trainers.loop_context import LoopResult
from easydel.trainers.record.checkpoint import Progress
from easydel.trainers.record.metrics_log import MetricsLog
from easydel.trainers.train_state import TrainState

PROGRESS = Progress(epoch=1, batch=0, num_tokens=12_345, data="", reference="", num_pairs=1_200)
GOAL = BestMetric("eval_loss", False, None, 0.0)
STATE = TrainState(None, None, None, None, None)  # pyright: ignore[reportArgumentType]  # nothing looks at it
ENDING = LoopResult(STATE, {}, PROGRESS, step=75, skipped=0, best=None, best_is_loaded=False, seconds=192.0)


def test_the_last_metrics_stand_beside_one_another_and_above_where_things_are():
    counts = Counts(3, 2, {}, {"too long": 1}, 0, 0)
    metrics = {"loss": 0.5, "rewards/margins": 0.25, "eval_loss": 0.625}
    places = {"report": Path("runs/x/report.html"), "checkpoint": None}
    text = summary(metrics, {"steps": "3"}, {"train": counts, "eval": counts}, places)
    assert [line.split(maxsplit=1) for line in text.splitlines()][1:] == [
        ["loss", "0.5000      0.6250"],
        ["rewards/accuracies", "-           -"],
        ["rewards/margins", "0.2500           -"],
        ["logps/accuracies", "-           -"],
        [],
        ["steps", "3"],
        ["rows,", "train  2 of 3 rows kept. Dropped: 1 (too long)."],
        ["rows,", "eval   2 of 3 rows kept. Dropped: 1 (too long)."],
        ["report", str(Path("runs/x/report.html"))],
    ]
    assert text.splitlines()[0].split() == ["train", "eval"]


def test_each_eval_set_has_a_column_wide_enough_for_its_name():
    counts = Counts(1, 1, {}, {}, 0, 0)
    names = ("train", "eval_a", "eval_a_set_with_a_long_name")
    head, loss = summary({"eval_a_loss": 0.5}, {}, dict.fromkeys(names, counts), {}).splitlines()[:2]
    assert head.split() == ["train", "a", "a_set_with_a_long_name"]
    assert loss.split() == ["loss", "-", "0.5000", "-"]
    assert len(head) == len(loss)


def test_what_a_run_did_is_said_in_numbers(tmp_path: Path):
    with MetricsLog(tmp_path, "run", total=75) as log:
        for step, rate in ((10, 5.0), (20, 4000.0), (30, 4321.0)):  # the first compiles
            log.write(step, {"tokens_per_second": rate})
    assert facts_of(ENDING, None, tmp_path, start=0, total_steps=75) == {
        "steps": "75",
        "trained on": "1,200 pairs, 12,345 tokens",
        "time": "3 min 12 s, 4,000 tokens/s once under way",
    }


def test_what_did_not_go_as_planned_is_said(tmp_path: Path):
    ending = ENDING._replace(skipped=2, best=BestEvaluation(50, 0.25, 3), best_is_loaded=True)
    assert facts_of(ending, GOAL, tmp_path, start=40, total_steps=100) == {
        "steps": "75 of 100, stopped early; 2 skipped, not finite",
        "trained on": "1,200 pairs, 12,345 tokens",
        "time": "3 min 12 s since step 40",
        "best": "eval_loss 0.25 at step 50; the model has these weights",
    }


def test_without_a_finite_evaluation_there_is_no_best(tmp_path: Path):
    ending = ENDING._replace(best=BestEvaluation(None, float("nan"), 2))
    assert "best" not in facts_of(ending, GOAL, tmp_path, start=0, total_steps=75)
