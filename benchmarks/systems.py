"""What is run: which programs, under which limits, and how each is started."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.environments import HERE, interpreter
from benchmarks.pairs import Limits
from benchmarks.turns import Worker

SYSTEMS = ("ours", "trl", "trl-stored", "easydel")
"""`trl-stored` is TRL without its default gradient checkpointing: faster, and with more memory."""

TITLES = {"ours": "ours", "trl": "TRL", "trl-stored": "TRL, gradient_checkpointing=False", "easydel": "EasyDeL"}
_ENVIRONMENT_OF = {"ours": "ours", "trl": "trl", "trl-stored": "trl", "easydel": "easydel"}
# Cold starts everywhere, nothing from a network, and nothing that this process was given for itself.
_SET = {
    "HF_HUB_OFFLINE": "1",
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_MODE": "disabled",
}
# Two programs share a GPU, one of them stopped: neither may take all of its memory beforehand.
_SET_ON = {
    "cpu": {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"},
    "gpu": {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
}
_DROPPED = ("GLIBC_TUNABLES", "JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS", "PYTHONPATH")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is the same for every program."""

    batch_size: int = 8
    max_length: int = 512
    learning_rate: float = 1e-4
    beta: float = 0.1
    device: str = "cpu"
    """On "gpu" everybody computes in bfloat16 over weights in float32."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One program on one model under one set of limits."""

    system: str
    limits: Limits

    @property
    def title(self) -> str:
        return f"{TITLES[self.system]}, {self.limits.title()}"

    @property
    def environment(self) -> str:
        """The name of its environment; two runs may share one."""
        return _ENVIRONMENT_OF[self.system]

    @property
    def takes_ids(self) -> bool:
        """Whether it is given token ids in place of text."""
        return self.system == "easydel"


def runs(systems: tuple[str, ...], settings: Settings) -> list[Run]:
    """Returns the runs that the systems ask for: ours once for each kind of limits that a rival has.

    EasyDeL gives prompt and completion a fixed half of the length each, so against it we train with the same limits.

    >>> [run.title for run in runs(("ours", "easydel"), Settings())]
    ['ours, 256 + 256', 'EasyDeL, 256 + 256']
    """
    whole = Limits(settings.max_length)
    rivals = [Run(system, whole.halved() if system == "easydel" else whole) for system in systems if system != "ours"]
    if "ours" not in systems:
        return rivals
    under = dict.fromkeys(run.limits for run in rivals) or {whole: None}
    return [run for limits in under for run in [Run("ours", limits), *(r for r in rivals if r.limits == limits)]]


def make_worker(run: Run, model: Path, rows: Path, folder: Path, settings: Settings, steps: int) -> Worker:
    """Returns the worker of a run, not started; `rows` is a file of text, or of ids where the run takes them."""
    ours = run.system == "ours"
    if ours:
        command = our_command(run, model, rows, folder, settings, steps)
    else:
        command = _rival(run, model, rows, folder, settings)
    return Worker(
        run.title,
        command,
        _environment(run, folder, settings.device),
        steps=folder / "run" / "metrics.jsonl" if ours else folder / "steps.jsonl",
        output=folder / "output.txt",
    )


def our_command(run: Run, model: Path, rows: Path, folder: Path, settings: Settings, steps: int) -> list[str]:
    """Returns our own command line, as a user would write it: the first steps of an epoch of `rows`."""
    options: Mapping[str, object] = {
        "repo_id": model,
        "dataset_name": rows,
        "save_directory": folder,
        "model_name": "run",
        "dtype": "float32" if settings.device == "cpu" else "bfloat16",
        "gradient_checkpointing": "" if settings.device == "cpu" else "nothing_saveable",
        "beta": settings.beta,
        "total_batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "shuffle_train_dataset": "false",
        "max_training_steps": steps,
        "log_steps": 1,
        "do_last_save": "false",
        "progress_bar_type": "none",
        "compilation_cache": "false",
        **{name: value for name, value in run.limits._asdict().items() if value is not None},
    }
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return [str(interpreter("ours")), "-m", "easydel.scripts.finetune.dpo", *flags]


def _rival(run: Run, model: Path, rows: Path, folder: Path, settings: Settings) -> list[str]:
    job = {
        "model": str(model),
        "rows": str(rows),
        "folder": str(folder),
        "gradient_checkpointing": run.system == "trl",
        **dataclasses.asdict(settings),
        **run.limits._asdict(),
    }
    script = HERE / f"worker_{run.environment}.py"
    # -P: the modules beside the script are not for it.
    return [str(interpreter(run.environment)), "-P", str(script), json.dumps(job)]


def _environment(run: Run, folder: Path, device: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    if run.system == "ours":
        own = {"PYTHONPATH": str(HERE.parent / "src")}  # the checkout that this file is in, whatever is installed
    else:
        own = {"COMPILE_FUNC_DIR": str(folder / "compiled")}  # where EasyDeL keeps compiled steps
    return {**inherited, **_SET, **_SET_ON[device], **own}
