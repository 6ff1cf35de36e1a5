"""What adapters add to the weight table: rows with the names of PEFT's files, and the axes of their ranks."""

from collections.abc import Sequence

from easydel.errors import ConfigError
from easydel.models.lora import FUSED, Lora
from easydel.models.targets import Modules, full_names
from easydel.weights.table import Row, Sizes

_FUSED_NAMES = {parts: name for name, parts in FUSED.items()}


def check_lora(lora: Lora, chosen: Modules, sizes: Sizes) -> None:
    """Raises ConfigError for a rank, alpha or dropout that cannot be."""
    if isinstance(lora.rank, bool) or not isinstance(lora.rank, int):
        raise ConfigError(f"the rank of the adapters ({lora.rank!r}) must be a whole number.")
    for module, rows in chosen.items():
        out, into = rows[0].file_shape(sizes)
        rank = _rank(lora, module, rows, sizes)
        if rank < 1:
            raise ConfigError(f"the rank of the adapters ({rank}) must be at least 1; without adapters, leave it out.")
        if rank > min(out, into):
            raise ConfigError(
                f"the rank of the adapters ({rank}) is larger than {module}, a matrix of {out} x {into}: take at "
                f"most {min(out, into)}, or leave this module out of target_modules."
            )
    for alpha in (lora.alpha, *(alpha for _, alpha in lora.alpha_pattern)):
        if not isinstance(alpha, int | float) or not alpha > 0:
            raise ConfigError(f"alpha ({alpha!r}) must be a number above 0: it multiplies what the adapters add.")
    if not 0 <= lora.dropout < 1:
        raise ConfigError(f"the dropout of the adapters ({lora.dropout}) must be in [0, 1).")


def rank_sizes(lora: Lora, chosen: Modules, sizes: Sizes) -> dict[str, int]:
    """Returns the sizes of the axes with those of the ranks."""
    ranks = {_rank(lora, module, rows, sizes) for module, rows in chosen.items()}
    return {**sizes, **{_axis(rank): rank for rank in ranks}}


def adapter_rows(lora: Lora, chosen: Modules, sizes: Sizes) -> list[Row]:
    """Returns the rows of the weight table that the adapters add.

    What is fused in the file has one A, and the rows of B are those of its parts, one after another.
    """
    found = []
    for module, rows in chosen.items():
        name = f"base_model.model.{rows[0].name.removesuffix('.weight')}"
        rank, into = _axis(_rank(lora, module, rows, sizes)), rows[0].sides[0][1]
        pattern = f"{rank} {_group(into)} -> {' '.join(into)} {rank}"
        found.append(Row(f"{name}.lora_A.weight", (*_shared(rows), "lora_a"), pattern, layers=rows[0].layers))
        for row in rows:
            out, (*at, _) = row.sides[0][0], row.path
            pattern = f"{_group(out)} {rank} -> {rank} {' '.join(out)}"
            found.append(Row(f"{name}.lora_B.weight", (*at, "lora_b"), pattern, "zeros", row.layers, row.part))
            if lora.use_dora:
                # On the residual stream, as the bias of an output projection is: too small to split.
                axes = ["residual" if axis == "embed" else axis for axis in out]
                pattern, path = f"{_group(axes)} -> {' '.join(axes)}", (*at, "lora_magnitude")
                found.append(Row(f"{name}.lora_magnitude_vector", path, pattern, "ones", row.layers, row.part))
    return found


def _shared(rows: tuple[Row, ...]) -> tuple[str, ...]:
    """Returns where A lies: beside the kernel, or in a place of its own where several kernels share it."""
    *layers, part, _ = rows[0].path
    return (*layers, part if len(rows) == 1 else _FUSED_NAMES[tuple(row.path[-2] for row in rows)])


def _rank(lora: Lora, module: str, rows: tuple[Row, ...], sizes: Sizes) -> int:
    ranks = {lora.rank_of(name) for name in full_names(rows[0], sizes["layers"])}
    if len(ranks) > 1:
        raise ConfigError(
            f"rank_pattern gives {module} the ranks {', '.join(map(str, sorted(ranks)))} in different layers; "
            "a module must have one. Merge the adapters with PEFT (merge_and_unload), and load the merged model."
        )
    return ranks.pop()


def _axis(rank: int) -> str:
    return f"rank{rank}"


def _group(axes: Sequence[str]) -> str:
    return axes[0] if len(axes) == 1 else f"({' '.join(axes)})"
