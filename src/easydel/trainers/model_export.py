"""The model as a Hugging Face folder: weights, tokenizer, license and card."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from easydel.errors import warn
from easydel.models.causal_lm import CausalLM
from easydel.trainers.config import DPOConfig
from easydel.trainers.model_card import ModelCardFacts, is_local, write_card
from easydel.trainers.record.unwritten import spared
from easydel.trainers.report.run import changed, read_run
from easydel.trainers.tokenizer_files import copy_licenses, write_tokenizer
from easydel.weights.load import OutOfRange
from easydel.weights.table import get


def export_model(
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
    base = Path(model.origin.name)
    source = str(model.origin.folder or base)  # a path of the run may mean nothing where its checkpoint is exported
    facts = ModelCardFacts(
        config.model_name, model.origin.name, changed(config), dataset_names, adapters, place, source
    )
    if place and is_local(str(base)):  # what is uploaded tells no path of this machine
        model = replace(model, origin=replace(model.origin, name=base.name))

    def also(target: Path) -> None:
        if tokenizer is not None:
            write_tokenizer(tokenizer, target, {} if adapters else model.origin.config)
        with spared(folder / "LICENSE", f"Copy it from {source}; the model is complete."):
            copy_licenses(source, target)
        with spared(folder / "README.md", "It is the model card; the model is complete.", Exception):
            write_card(target, facts, None if run is None else read_run(run))

    kept, wanted = trained_dtype(model, adapters=adapters), config.save_dtype
    # Float32 masters of a bfloat16 base are rounded: a model has the size, and serves in the dtype, that it came with.
    dtype = wanted or (None if adapters else model.origin.dtype) or kept

    def save(dtype: str) -> None:
        model.save_pretrained(folder, dtype=dtype, also=also, merge=merge, progress_bar_type=config.progress_bar_type)

    try:
        save(dtype)
    except OutOfRange as error:  # after a whole run nothing is thrown away for that
        warn(f"{error} The model is written in float32.")
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
