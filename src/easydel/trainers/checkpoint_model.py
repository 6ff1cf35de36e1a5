"""The model in a checkpoint: its trained weights, and the rest of it from what the run wrote down in `model.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from easydel.errors import ConfigError
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.models.decoder import Decoder
from easydel.models.export import Origin
from easydel.models.folders import find_model
from easydel.models.lora import Lora
from easydel.models.quantize import quantization_of
from easydel.models.rows import weight_rows
from easydel.models.wrappers import is_wrapper
from easydel.sharding import make_mesh, sharding_for
from easydel.trainers.config import DPOConfig
from easydel.trainers.record.checkpoint_weights import read_weights, stored_weights
from easydel.trainers.record.files import read_json, write_json
from easydel.trainers.record.same_settings import FINGERPRINTS, known_settings, steps_in
from easydel.trainers.run_facts import FROZEN, frozen_fingerprint
from easydel.trainers.trainable import BUFFERS, make_partition, make_policy
from easydel.weights.table import nest, unnest

RECORD = "model.json"
_NAMES = ("model", "folder", "adapters", "config", "generation", "dtype", "param_dtype", "quantization", "lora")


class Recorded(NamedTuple):
    """The model of a checkpoint, with what belongs to it."""

    model: CausalLM
    config: DPOConfig
    run: Path  # the folder of the run
    tokenizer: str | None  # folder or hub name of the tokenizer that the run had


def write_record(run: Path, model: CausalLM, tokenizer: str | None) -> None:
    """Writes what a checkpoint does not hold of its model into the folder of a run.

    Args:
        model: the initial policy.
        tokenizer: folder or hub name of its tokenizer; None where rows are token ids.
    """
    origin = model.origin
    values = {
        "model": origin.name,
        "folder": origin.folder and str(origin.folder.absolute()),
        "adapters": origin.adapters and str(origin.adapters.absolute()),
        "config": origin.config,
        "generation": origin.generation,
        "dtype": origin.dtype,
        "param_dtype": np.dtype(model.params["embedding"].dtype).name,
        "quantization": quantization_of(model.params),
        "lora": model.lora and asdict(model.lora),
        "tokenizer": str(Path(tokenizer).absolute()) if tokenizer and Path(tokenizer).exists() else tokenizer,
    }
    write_json(run / RECORD, values, hint="Without it `easydel-dpo checkpoint` makes no model of a checkpoint.")


def checkpoint_model(
    path: Path, *, base: str | None = None, sharding_axis_dims: Sequence[int] = (1, -1, 1, 1, 1)
) -> Recorded:
    """Returns the model whose trained weights are in a checkpoint, on the devices of this process.

    The base is loaded only where some of its weights are not trained, and so not stored: adapters, frozen weights.

    Args:
        path: `<run>/checkpoints/<step>`.
        base: folder or hub name of the model that the run started from; None takes the place that the run read.
        sharding_axis_dims: sizes of the mesh axes (dp, fsdp, ep, tp, sp); -1 takes the devices that are left.

    Raises:
        ConfigError: it is not a checkpoint, it is damaged, or `base` is another model.
        DataError: a file of the run is damaged.
        WeightsError: the base cannot be read.
    """
    path = path.resolve()  # the run lies around the checkpoint, not around a link to it
    run = path.parent.parent
    if not (path / "state").is_dir() or not (run / "config.yaml").is_file():
        raise ConfigError(
            f"{path} is not a checkpoint of a run: give <save_directory>/<model_name>/checkpoints/<step>.{_there(path)}"
        )
    values = known_settings(run)
    loss = values.get("loss_type")
    config = DPOConfig.from_dict(values | {"loss_type": [*map(_loss, loss)] if isinstance(loss, list) else _loss(loss)})
    record = read_json(run / RECORD, f"{', '.join(_NAMES)} and tokenizer", lambda value: value.keys() >= set(_NAMES))
    if not record:
        raise ConfigError(
            f"{run} has no {RECORD}, which says what model it trains: it is of an older version of easydel-dpo. "
            "Continue it with --resume auto, which writes the file."
        )
    model = _untrained(config, record, base, sharding_axis_dims)
    partition = make_partition(config, model)
    frozen = partition.frozen_part(model.params)
    known = read_json(run / FINGERPRINTS).get("facts", {}).get(FROZEN)
    if known is not None and known != frozen_fingerprint(frozen):
        raise ConfigError(
            f"{model.origin.name} is not the model that the run in {run} started from: weights that it did not train "
            "differ. Name that model with --repo_id."
        )
    trained = read_weights(path, _places(path, model))
    origin = replace(model.origin, generation=record["generation"], name=record["model"])
    return Recorded(
        replace(model, params=partition.combine(trained, frozen), origin=origin), config, run, record["tokenizer"]
    )


def _there(path: Path) -> str:
    """Returns in words which checkpoints lie beside one that does not exist; "" where none does."""
    steps = steps_in(path.parent)
    return f" {path.parent} holds those of steps {', '.join(map(str, steps))}." if steps else ""


def _loss(name: Any) -> Any:
    """Returns a loss of this name: of one that is the user's own there is the name alone, which the card shows."""

    def unknown(*arguments: Any) -> None:
        raise NotImplementedError(name)

    if isinstance(name, str) and ":" in name:
        unknown.__module__, _, unknown.__qualname__ = name.partition(":")
        return unknown
    return name


def _untrained(config: DPOConfig, record: Mapping[str, Any], base: str | None, dims: Sequence[int]) -> CausalLM:
    """Returns the initial policy; without weights where all of them are trained."""
    lora = record["lora"]
    read = ModelConfig.from_hf(record["config"])
    whole = not any(row.path[-1] in BUFFERS for row in weight_rows(read))
    if lora is None and config.frozen_parameters is None and whole:
        decoder = Decoder(read, make_mesh(dims))
        origin = Origin(record["model"], record["config"], record["generation"], record["dtype"])
        if is_wrapper(record["config"]):  # the rest of it is not trained, and not stored
            folder = find_model(base or _place(record), None, None)
            return CausalLM(decoder, {}, replace(origin, folder=folder.path, carried=folder.carried))
        place = record["folder"] if base is None else find_model(base, None, None).path  # of its license
        return CausalLM(decoder, {}, replace(origin, folder=place and Path(place)))
    model = AutoEasyDeLModelForCausalLM.from_pretrained(
        base or _place(record),
        sharding_axis_dims=dims,
        param_dtype=record["param_dtype"],
        quantization=record["quantization"],
        progress_bar_type=config.progress_bar_type,
    )
    if lora is None or config.lora_rank is not None:
        return make_policy(config, model)
    if record["adapters"] is not None:
        return model if model.lora is not None else model.load_adapter(record["adapters"])
    made = Lora(**lora)
    return model.apply_lora(
        made.rank,
        alpha=made.alpha,
        target_modules=made.target_modules,
        dropout=made.dropout,
        use_dora=made.use_dora,
        use_rslora=made.use_rslora,
    )


def _place(record: Mapping[str, Any]) -> str:
    """Returns where the base is: the folder that the run read, or its name, which may be one on the hub."""
    folder, name = record["folder"], record["model"]
    if folder is None:
        raise ConfigError(
            "a checkpoint holds the trained weights alone, and the others are those of a model that was made in "
            "memory: save that model to a folder with save_pretrained, and name it with --repo_id."
        )
    return folder if Path(folder).exists() else name


def _places(path: Path, model: CausalLM) -> PyTree[jax.ShapeDtypeStruct]:
    """Returns shape, dtype and sharding of each trained array, by what is stored and what the model calls it."""
    rows = {row.path: row for row in model.rows}
    stored = unnest(stored_weights(path))
    mesh = model.decoder.mesh
    return nest(
        {
            place: jax.ShapeDtypeStruct(
                x.shape, x.dtype, sharding=sharding_for(rows[place].axes, x.shape, mesh, name=rows[place].name)
            )
            for place, x in stored.items()
        }
    )
