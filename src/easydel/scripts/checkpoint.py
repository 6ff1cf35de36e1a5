"""Makes a model of a checkpoint: `easydel-dpo checkpoint RUN/checkpoints/500 --to FOLDER`."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from easydel.errors import ConfigError, DataError, WeightsError
from easydel.json_objects import read_object


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the model in a checkpoint as a Hugging Face folder, prints where, and returns the exit status."""
    given = make_parser().parse_args(argv)
    try:
        print(export(given))
    except (ConfigError, DataError, WeightsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="easydel-dpo checkpoint",
        description="Write the model in a checkpoint of a run, with tokenizer and card, as a Hugging Face folder.",
    )
    parser.add_argument(
        "checkpoint", type=Path, help="<run>/checkpoints/<step>; of the folder of a run the best, else the newest"
    )
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="a folder that does not exist yet")
    parser.add_argument("--repo_id", help="model that the run started from, if it moved: a folder or a hub name")
    parser.add_argument("--processor_repo_id", help="tokenizer, if it moved: a folder or a hub name")
    parser.add_argument(
        "--save_dtype", choices=("float32", "bfloat16", "float16"), help="dtype of the weights (default: as the run)"
    )
    parser.add_argument(
        "--merge_lora_before_save", action="store_true", help="add adapters to the weights (default: as the run)"
    )
    parser.add_argument(
        "--sharding_axis", default="1,-1,1,1,1", help="devices along dp,fsdp,ep,tp,sp (default: %(default)s)"
    )
    return parser


def export(given: Any) -> str:
    """Returns in words what was written where; `given` has the options of `main`.

    Raises:
        ConfigError: there is something already, or see `checkpoint_model`.
    """
    if given.to.exists():
        raise ConfigError(f"--to {given.to} exists: nothing is written over. Name a folder that does not exist yet.")
    path = newest_or_best(given.checkpoint)
    from easydel.scripts.loading import axis_dims, load_tokenizer
    from easydel.trainers.checkpoint_model import checkpoint_model
    from easydel.trainers.model_export import export_model

    found = checkpoint_model(path, base=given.repo_id, sharding_axis_dims=axis_dims(given.sharding_axis))
    name = given.processor_repo_id or found.tokenizer
    changed = {"save_dtype": given.save_dtype} if given.save_dtype else {}
    if given.merge_lora_before_save:
        changed["merge_lora_before_save"] = True
    config = dataclasses.replace(found.config, **changed)
    tokenizer = load_tokenizer(name, None) if name else None  # a run whose rows are token ids has none
    dtype = export_model(found.model, tokenizer, config, given.to, run=found.run, dataset_names=(), place="")
    return f"{given.to}: the model of step {path.name}, {dtype}"


def newest_or_best(path: Path) -> Path:
    """Returns the checkpoint that is meant: itself, or that of the best evaluation, else the newest, of a run.

    Raises:
        ConfigError: a run without checkpoints.
        DataError: `best.json` is damaged.
    """
    folder = path / "checkpoints"
    if not folder.is_dir():
        return path
    if (path / "best.json").is_file():
        best = read_object(path / "best.json", DataError).get("checkpoint")
        if not isinstance(best, str):
            raise DataError(f"{path / 'best.json'} names no checkpoint: name one, {folder}/<step>.")
        return path / best
    from easydel.trainers.record.same_settings import steps_in

    if not (steps := steps_in(folder)):
        raise ConfigError(f"{folder} holds no checkpoint. A run saves one with save_steps, and at its end.")
    return folder / str(max(steps))


if __name__ == "__main__":
    sys.exit(main())
