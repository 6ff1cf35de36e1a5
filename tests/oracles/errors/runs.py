"""Errors of a run: its folder, what it is given, what it continues, its processes."""

import errno
import fcntl
import json
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from easydel import processes
from easydel.data.eval_split import eval_rows
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.scripts.checkpoint import export, newest_or_best
from easydel.sharding import make_mesh
from easydel.trainers import hub, memory_estimate
from easydel.trainers.checkpoint_model import checkpoint_model
from easydel.trainers.config import DPOConfig
from easydel.trainers.dpo import DPOTrainer
from easydel.trainers.extensions import PairValues, computed_metrics
from easydel.trainers.hub import open_repository, upload
from easydel.trainers.record import lock
from easydel.trainers.record.files import read_metrics
from easydel.trainers.record.run_folder import check_apart, check_writable
from easydel.trainers.report.run import read_run
from oracles.disk import full_disk
from oracles.errors import Case, Cases, Place
from oracles.runs import TINY, id_rows, tiny_model
from oracles.tokenizers import tiny_tokenizer


def trainer(place: Place, model: CausalLM | None = None, **settings: Any) -> DPOTrainer:
    given = {"reference_model", "train_dataset", "eval_dataset", "processing_class", *OWN} & settings.keys()
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


NO_PAIRS = PairValues(*[np.zeros(0)] * 6)
OWN = ("on_log", "optimizer", "schedule", "compute_metrics")


def made(**settings: Any) -> Case:
    return lambda place: trainer(place, **settings)


def other(**changes: Any) -> CausalLM:
    """Another model of the same family."""
    from oracles.tiny import ONE_DEVICE, tiny_config

    return CausalLM.from_config(tiny_config(**{**TINY.source, **changes}), mesh=make_mesh(ONE_DEVICE))


def of_case(name: str, **changes: Any) -> CausalLM:
    from oracles.cases import CASES
    from oracles.tiny import ONE_DEVICE

    return CausalLM.from_config(ModelConfig.from_hf(CASES[name] | changes), mesh=make_mesh(ONE_DEVICE))


def little_memory(place: Place) -> object:
    usual = memory_estimate.available_bytes
    memory_estimate.available_bytes = lambda devices: 1000
    try:
        return trainer(place)
    finally:
        memory_estimate.available_bytes = usual


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


def computing(**changes: Any) -> CausalLM:
    model = tiny_model()
    return replace(model, decoder=replace(model.decoder, **changes))


def made_newer(place: Place) -> Path:
    """Returns the folder of that run, as a version with one more option would have written it."""
    shutil.copytree(trained(False), place.folder / "runs")
    folder = place.folder / "runs" / "dpo"
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text() + "cowbell: 3\n")
    recorded = json.loads((folder / "fingerprints.json").read_text())
    recorded["options"], recorded["written_by"]["easydel"] = ["cowbell"], "9.0.0"
    (folder / "fingerprints.json").write_text(json.dumps(recorded))
    return folder


def of_another_version(place: Place) -> object:
    made_newer(place)
    return trainer(place, **SAVED, resume="auto")


def best_of_none(place: Place) -> object:
    place.file("run/checkpoints/a.txt")
    return newest_or_best(place.file("run/best.json", "{}").parent)


def of_an_earlier_version(place: Place) -> object:
    shutil.copytree(trained(False), place.folder / "runs")
    (place.folder / "runs" / "dpo" / "fingerprints.json").unlink()
    return trainer(place, other(intermediate_size=48), **SAVED, resume="auto").train()


def damaged(place: Place) -> object:
    shutil.copytree(trained(False), place.folder / "runs")
    (place.folder / "runs" / "dpo" / "checkpoints" / "2" / "state" / "manifest.ocdbt").write_bytes(b"")
    return trainer(place, **SAVED, resume="auto").train()


def newer(place: Place) -> object:
    shutil.copytree(trained(False), place.folder / "runs")
    progress = place.folder / "runs" / "dpo" / "checkpoints" / "2" / "progress" / "metadata"
    progress.write_text(progress.read_text().replace('"format_version": 2', '"format_version": 9'))
    return trainer(place, **SAVED, resume="auto").train()


def exported(*, frozen: bool = False, without: str | None = None, base: bool = False) -> Case:
    """The model of that run's checkpoint, of which a file is missing, or another base is given."""

    def run(place: Place) -> object:
        shutil.copytree(trained(frozen), place.folder / "runs")
        folder, named = place.folder / "runs" / "dpo", None
        if without is not None:
            (folder / without).unlink()
        if base:
            named = str(place.folder / "other")
            tiny_model(seed=5).save_pretrained(named, progress_bar_type="none")
        return checkpoint_model(folder / "checkpoints" / "2", base=named)

    return run


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


def busy(place: Place) -> object:
    """Another process, on another host, trains under the same name."""

    def refuse(handle: int, kind: int) -> None:
        raise BlockingIOError(errno.EAGAIN, "it is locked")

    folder = place.folder / "dpo_runs" / "dpo"
    folder.mkdir(parents=True)
    owner = {"host": "node-17", "pid": 4711, "since": "2026-01-31 09:00:00+00:00"}
    (folder / lock.NAME).write_text(json.dumps(owner))
    usual, fcntl.lockf = fcntl.lockf, refuse
    try:
        return lock.locked(Path("dpo_runs/dpo")).__enter__()
    finally:
        fcntl.lockf = usual


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
        made(on_log="print"),
        made(optimizer="lion"),
        made(schedule=lambda done: [1e-6, 1e-7]),
        made(schedule=lambda done: 1e-6, scheduler="linear"),
        lambda place: computed_metrics(lambda values: 0.5, NO_PAIRS, {}),
        lambda place: computed_metrics(lambda values: {"loss": 0.5}, NO_PAIRS, {"loss": 0.7}),
        lambda place: computed_metrics(lambda values: {"wins": "all"}, NO_PAIRS, {}),
        made(evaluation_steps=5),
        made(stop_on=["overfitting"]),
        made(stop_on=["answers_repeat"]),
        made(eval_dataset=id_rows(2), test_split_size=2),
        made(train_dataset=iter(id_rows(4)), test_split_size=2, max_training_steps=3),
        lambda place: eval_rows("abcd", 4, seed=0),
        made(generation_prompts=2),
        made(router_aux_loss_coef=0.1, model=of_case("glm4_moe", vocab_size=64)),
        made(disable_dropout=False, model=of_case("seed_oss", vocab_size=64)),
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
    "Folders and disks": [taken, full, within, busy],
    "Continuing a run": [
        continued({"beta": 0.2}),
        continued({"model": computing(precision="high")}),
        of_another_version,
        continued({"train_dataset": id_rows(4, seed=3)}),
        continued({"model": tiny_model(seed=5)}),
        continued({"frozen_parameters": "embed_tokens"}),
        continued({"model": tiny_model(seed=5), **FROZEN}),
        of_an_earlier_version,
        continued({"num_train_epochs": 1}),
        damaged,
        newer,
    ],
    "The model of a checkpoint": [
        lambda place: checkpoint_model(place.file("runs/dpo/config.yaml").parent),
        exported(without="model.json"),
        exported(without="checkpoints/2/state/manifest.ocdbt"),
        exported(frozen=True),
        exported(frozen=True, base=True),
        lambda place: export(SimpleNamespace(to=place.file("out/config.json").parent)),
        lambda place: checkpoint_model(made_newer(place) / "checkpoints" / "2"),
        best_of_none,
        lambda place: newest_or_best(place.file("runs/dpo/checkpoints/a.txt").parent.parent),
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
