"""What a run leaves for others: its report, and the model with tokenizer and card, in a folder or on the hub."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

import easydel
from easydel.models.causal_lm import CausalLM
from easydel.processes import by_first, is_first
from easydel.trainers.card import Subject, is_local, write_card
from easydel.trainers.config import DPOConfig
from easydel.trainers.hub import open_repository
from easydel.trainers.report.page import write_report
from easydel.trainers.report.run import changed, read_run
from easydel.trainers.run_folder import write_json
from easydel.trainers.tokenizer_files import copy_licenses, write_tokenizer
from easydel.weights.load import OutOfRange
from easydel.weights.table import get


def export(
    model: CausalLM,
    tokenizer: Any,
    config: DPOConfig,
    folder: Path,
    *,
    run: Path | None,
    dataset_names: Sequence[str],
    place: str,
) -> str:
    """Writes a model with its tokenizer and card as a Hugging Face folder, which appears when it is complete.

    Returns in words the dtype that its weights were written in.

    Args:
        run: the folder of the run that trained it; None where it was not trained yet.
        dataset_names: of the training data on the hub.
        place: where it will be on the hub; "" is nowhere.
    """
    merge = config.merge_lora_before_save
    adapters = model.lora is not None and not merge
    subject = Subject(config.model_name, model.origin.name, changed(config), dataset_names, adapters, place)

    base = Path(model.origin.name)
    if place and is_local(str(base)):  # what is uploaded tells no path of this machine
        model = replace(model, origin=replace(model.origin, name=base.name))

    def also(target: Path) -> None:
        if tokenizer is not None:
            write_tokenizer(tokenizer, target, {} if adapters else model.origin.config)
        copy_licenses(str(base), target)
        write_card(target, subject, None if run is None else read_run(run))

    kept, wanted = trained_dtype(model, adapters=adapters), config.save_dtype
    # Float32 masters of a bfloat16 base are rounded: a model has the size, and serves in the dtype, that it came with.
    dtype = wanted or (None if adapters else model.origin.dtype) or kept

    def save(dtype: str) -> None:
        model.save_pretrained(folder, dtype=dtype, also=also, merge=merge, progress_bar_type=config.progress_bar_type)

    try:
        save(dtype)
    except OutOfRange as error:  # after a whole run nothing is thrown away for that
        warnings.warn(f"{error} The model is written in float32.", stacklevel=3)
        dtype = wanted = "float32"
        save(dtype)
    if dtype == kept:
        return dtype
    why = "as asked for" if wanted else "as the base came"
    return f"{dtype}, {why}; save_dtype = '{kept}' writes the weights as they were trained"


def trained_dtype(model: CausalLM, *, adapters: bool) -> str:
    """Returns the dtype in which the weights of a model are kept, or those of its adapters."""
    if adapters:
        return np.dtype(get(model.params, model.adapter_rows[0].path).dtype).name
    return np.dtype(model.params["embedding"].dtype).name


def report(run: Path, model: CausalLM, facts: Mapping[str, str]) -> Path | None:
    """Writes `run.json`, what a run was made of and did, and `report.html`, whose path is returned.

    Of several processes the first one does, and the others return None.
    """
    if not is_first():
        return None
    devices = model.decoder.mesh.devices
    made = f"easydel-dpo {easydel.__version__}, jax {jax.__version__}, {devices.size} x {devices.flat[0].device_kind}"
    write_json(run / "run.json", {"model": model.origin.name, **facts, "made with": made})
    return write_report(run)


def repository_of(config: DPOConfig) -> str | None:
    """Returns the whole name of the repository that a run will be uploaded to, which is made; None is nowhere.

    Of several processes the first one sees to it, and the others return None.

    Raises:
        ConfigError: the hub refused, or cannot be reached; in each process.
    """
    if not config.push_to_hub:
        return None
    name = config.hub_model_id or config.model_name
    return by_first(lambda: open_repository(name, private=config.hub_private_repo))
