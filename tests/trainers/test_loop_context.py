"""What a loop leaves in memory says the same as what it left in its files."""

from easydel.trainers import loop, training
from easydel.trainers.loop_context import LoopContext, LoopResult
from easydel.trainers.optimizer import updates_done
from oracles.runs import held_out_trainer, id_rows, logged, same_bits


def test_a_result_agrees_with_the_log_the_checkpoint_and_the_rows(tmp_path, monkeypatch):
    results: list[LoopResult] = []
    contexts: list[LoopContext] = []

    class Noting(loop.Loop):
        def run(self) -> LoopResult:
            contexts.append(self._context)
            results.append(super().run())
            return results[-1]

    monkeypatch.setattr(training, "Loop", Noting)
    run = held_out_trainer(tmp_path, num_train_epochs=2, save_steps=6, do_last_save=False)
    given = run.train()
    (result,), (context,) = results, contexts
    assert result.step == int(result.state.step) == updates_done(result.state.opt_state) == 6
    assert (result.skipped, result.best, result.best_is_loaded) == (0, None, False)
    assert same_bits(context.plan.combine(result.state.params), given.model.params)
    assert result.metrics["loss"] == logged(tmp_path, "loss")[-1]
    assert result.metrics["eval_loss"] == logged(tmp_path, "eval_loss")[-1]
    row_tokens = [2 * len(row["prompt_ids"]) + len(row["chosen_ids"] + row["rejected_ids"]) for row in id_rows(12)]
    assert (result.progress.num_pairs, result.progress.num_tokens) == (24, 2 * sum(row_tokens))
    assert context.checkpointer.steps() == [6]
    assert context.folder == tmp_path / "dpo"
