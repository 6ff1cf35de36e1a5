"""Errors of a run: its folder, what it is given, what it continues, its processes."""

import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from easydel import processes
from easydel.data.held_out import held_out
from easydel.models.causal_lm import CausalLM
from easydel.sharding import make_mesh
from easydel.trainers import hub, needs
from easydel.trainers.config import DPOConfig
from easydel.trainers.dpo import DPOTrainer
from easydel.trainers.hub import open_repository, upload
from easydel.trainers.log import read_metrics
from easydel.trainers.report.run import read_run
from easydel.trainers.run_folder import check_apart, check_writable
from oracles.disk import full_disk
from oracles.errors import Case, Cases, Place
from oracles.runs import TINY, id_rows, tiny_model
from oracles.tokenizers import tiny_tokenizer


def trainer(place: Place, model: CausalLM | None = None, **settings: Any) -> DPOTrainer:
    given = {"reference_model", "train_dataset", "eval_dataset", "processing_class"} & settings.keys()
    named = {"train_dataset": id_rows(4), **{name: settings.pop(name) for name in given}}
    config = DPOConfig(
        **{
            "save_directory": str(place.folder / "runs"),
            "total_batch_size": 4,
            "max_length": 32,
            "cache_directory": None,
            "log_steps": 1,
            "log_logit_metrics": False,
            "progress_bar_type": "none",
            **settings,
        }
    )
    return DPOTrainer(config, model or tiny_model(), **named)


def made(**settings: Any) -> Case:
    return lambda place: trainer(place, **settings)


def other(**changes: Any) -> CausalLM:
    """Another model of the same family."""
    from oracles.tiny import ONE_DEVICE, tiny_config

    return CausalLM.from_config(tiny_config(**{**TINY.source, **changes}), mesh=make_mesh(ONE_DEVICE))


def little_memory(place: Place) -> object:
    usual = needs.available_bytes
    needs.available_bytes = lambda devices: 1000
    try:
        return trainer(place)
    finally:
        needs.available_bytes = usual


FROZEN = {"frozen_parameters": "embed_tokens", "reference_model": tiny_model()}
SAVED = {"save_steps": 1, "do_last_save": False, "num_train_epochs": 2}


@cache
def trained(frozen: bool) -> Path:
    """Returns the folder of a run of two epochs of one step; it is made once, and copied."""
    folder = Path(tempfile.mkdtemp(prefix="easydel-errors-"))
    trainer(Place(folder, folder), **SAVED, **(FROZEN if frozen else {})).train()
    return folder / "runs"


def continued(change: dict[str, Any]) -> Case:
    """That run, continued with something else."""

    def run(place: Place) -> object:
        shutil.copytree(trained("reference_model" in change), place.folder / "runs")
        return trainer(place, **{**SAVED, "resume": "auto", **change}).train()

    return run


def damaged(place: Place) -> object:
    shutil.copytree(trained(False), place.folder / "runs")
    (place.folder / "runs" / "dpo" / "checkpoints" / "2" / "state" / "manifest.ocdbt").write_bytes(b"")
    return trainer(place, **SAVED, resume="auto").train()


def full(place: Place) -> object:
    with full_disk(2_000):
        return tiny_model().save_pretrained(place.folder / "out")


def named(place: Place) -> object:
    return DPOTrainer(DPOConfig(), "me/model", train_dataset=id_rows(4))  # pyright: ignore[reportArgumentType]


def within(place: Place) -> object:
    (place.folder / "dpo_runs" / "dpo" / "model").mkdir(parents=True)
    return check_apart(DPOConfig(), [("repo_id", "dpo_runs/dpo/model")])


def taken(place: Place) -> object:
    return check_writable(DPOConfig(save_directory=str(place.file("taken") / "runs")))


def later(place: Place) -> object:
    run = trainer(place, precompute_ref_log_probs=True, do_last_save=False)
    run.train()
    return run.evaluate(id_rows(3, seed=5))


def logged_out(place: Place) -> object:
    usual = hub.get_token
    hub.get_token = lambda: None
    try:
        return hub.open_repository("owner/name", private=False)
    finally:
        hub.get_token = usual


CASES: Cases = {
    "What a trainer is given": [
        made(train_dataset=None),
        made(evaluation_steps=5),
        made(eval_dataset=id_rows(2), test_split_size=2),
        made(train_dataset=iter(id_rows(4)), test_split_size=2, max_training_steps=3),
        lambda place: held_out("abcd", 4, seed=0),
        made(generation_prompts=2),
        made(eval_dataset=id_rows(2), best_metric="eval_los"),
        made(processing_class=tiny_tokenizer(), model=other(vocab_size=24), train_dataset=id_rows(1)),
        lambda place: trainer(place).evaluate(),
        lambda place: trainer(place, train_dataset=None, eval_dataset=id_rows(2)).train(),
        named,
    ],
    "Reference models": [
        made(reference_model=tiny_model(), reference_free=True),
        made(reference_model=other(vocab_size=72)),
        made(reference_model=CausalLM.from_config(TINY, mesh=make_mesh((1, 2, 1, 1, 1)))),
        made(reference_model=other(intermediate_size=48), sync_ref_model=True),
        later,
    ],
    "What is trained": [
        made(frozen_parameters="encoder"),
        made(frozen_parameters="."),
        made(merge_lora_before_save=True),
        lambda place: trainer(place, tiny_model().quantized("nf4")),
    ],
    "Too little memory to train": [little_memory],
    "Folders and disks": [taken, full, within],
    "Continuing a run": [
        continued({"beta": 0.2}),
        continued({"train_dataset": id_rows(4, seed=3)}),
        continued({"model": tiny_model(seed=5)}),
        continued({"frozen_parameters": "embed_tokens"}),
        continued({"model": tiny_model(seed=5), **FROZEN}),
        continued({"model": other(intermediate_size=48)}),
        continued({"num_train_epochs": 1}),
        damaged,
    ],
    "The hub": [
        logged_out,
        lambda place: open_repository("owner/name/more", private=False, token="none"),
        lambda place: open_repository("owner/name", private=False, token="none"),
        lambda place: upload(place.file("model/config.json", "{}").parent, "owner/name", token="none"),
    ],
    "Reports": [
        lambda place: read_run(place.file("other/a.txt").parent),
        lambda place: read_metrics(place.file("metrics.jsonl", '{"step": 1, "loss": 0.5}\n{"step": 2, "lo\n').parent),
    ],
    "Processes": [
        lambda place: processes.start("host:1", None, None),
        lambda place: processes.start("host", 2, 0),
    ],
}
