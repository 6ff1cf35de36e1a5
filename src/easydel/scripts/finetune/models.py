"""Loads policy and reference, and keeps compiled programs."""

import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import easydel
from easydel.processes import agreed
from easydel.scripts.finetune.run_config import RunConfig
from easydel.scripts.loading import axis_dims
from easydel.trainers.config import DPOConfig
from easydel.trainers.record.same_settings import is_continued

if TYPE_CHECKING:
    from easydel.models.auto import CausalLM
    from easydel.models.folders import ModelFolder


def check_same_run(run: RunConfig, config: DPOConfig) -> None:
    """Raises ConfigError where a run to be continued was another one, as far as the command line tells.

    Nothing is read but the files of that run.
    """
    if not agreed(is_continued(config)):
        return
    from easydel.trainers.record.same_run import SameRun
    from easydel.trainers.run_facts import precision_name

    facts = {"dtype": _dtype(run), "precision": precision_name(run.precision)}
    SameRun(config).add(facts | {"quantization": run.quantization or "none"})


def load_model(run: RunConfig, config: DPOConfig, name: "str | ModelFolder", revision: str | None) -> "CausalLM":
    """Returns the model in a folder or on the hub, placed on the devices; policy and reference load alike.

    Raises:
        ConfigError: options that this model or these devices cannot have.
        WeightsError: a model that cannot be read.
    """
    import jax.numpy as jnp

    dtype = _dtype(run)
    # Under adapters the weights are only computed with: what they are cast to there is all that they need to be.
    kept = "float32" if config.lora_rank is None else dtype
    return easydel.AutoEasyDeLModelForCausalLM.from_pretrained(
        name,
        dtype=jnp.dtype(dtype),
        param_dtype=jnp.dtype(config.param_dtype or kept),
        precision=run.precision,
        sharding_axis_dims=axis_dims(run.sharding_axis),
        attn_mechanism=run.attn_mechanism,
        gradient_checkpointing=run.gradient_checkpointing,
        quantization=run.quantization,
        revision=revision,
        progress_bar_type=config.progress_bar_type,
    )


def _dtype(run: RunConfig) -> str:
    import jax

    # bfloat16 products are slower than float32 ones on most CPUs.
    return run.dtype or ("float32" if jax.default_backend() == "cpu" else "bfloat16")


def load_reference(
    run: RunConfig, config: DPOConfig, model: "CausalLM", folders: Mapping[str, "str | ModelFolder"]
) -> "CausalLM | None":
    """Returns the reference model, None for the initial policy; what is in memory already is not loaded again."""
    name = run.reference_model_repo_id
    if name is None or (name == run.repo_id and run.revision is None):  # `revision` is that of repo_id alone
        return None
    if model.lora is not None and name == model.origin.name:
        return model.without_adapters()
    return load_model(run, config, folders[name], None)


def keep_compiled_programs() -> None:
    """Makes jax keep compiled programs in a folder that only this user can read or write.

    A compiled program is run as it is found: a folder that others write to would let them run code here.
    """
    import jax

    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "easydel" / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(stat.S_IRWXU)
    except OSError as error:
        print(f"note: compiled programs are not kept: {error}", file=sys.stderr)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
