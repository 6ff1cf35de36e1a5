"""Which modules of a model have adapters, by names as PEFT takes them, and the rows these add to the weight table."""

import re
from collections.abc import Callable, Mapping, Sequence

from easydel.errors import ConfigError, nearest
from easydel.models.lora import FUSED, Lora
from easydel.weights.table import Row, Sizes

ALL_LINEAR = "all-linear"
Modules = Mapping[str, tuple[Row, ...]]  # by the name within a layer; several rows are side by side in one tensor
_FUSED_NAMES = {parts: name for name, parts in FUSED.items()}


def linear_modules(rows: Sequence[Row]) -> dict[str, tuple[Row, ...]]:
    """Returns the rows of each matrix that may have adapters, by the name of its module within a layer.

    Experts have none.

    >>> list(linear_modules([Row("model.layers.{layer}.mlp.up_proj.weight", ("layers", "up", "kernel"), "m e -> e m")]))
    ['mlp.up_proj']
    """
    modules: dict[str, tuple[Row, ...]] = {}
    for row in rows:
        if row.stacked and row.path[-1] == "kernel" and "{expert}" not in row.name:
            module = row.name.partition("{layer}.")[2].removesuffix(".weight")
            modules[module] = (*modules.get(module, ()), row)
    return modules


def full_names(row: Row, layers: int) -> list[str]:
    """Returns the whole names of a module, one for each of the `layers` layers that has it."""
    having = range(layers) if row.layers is None else row.layers
    return [row.name.format(layer=layer).removesuffix(".weight") for layer in having]


def chosen_modules(target_modules: str | Sequence[str] | None, rows: Sequence[Row], layers: int) -> Modules:
    """Returns those of `linear_modules` that `target_modules` means, as PEFT understands it.

    Args:
        target_modules: names or ends of names such as `q_proj`; `all-linear` or None for all but routers of experts;
            or one regular expression that matches whole names, `model.layers.0.self_attn.q_proj`.

    Raises:
        ConfigError: a name that means no module, or modules that are meant in some layers only.
    """
    modules = linear_modules(rows)
    if target_modules is None:
        target_modules = ALL_LINEAR
    names = [target_modules] if isinstance(target_modules, str) else list(target_modules)
    if not names:
        raise ConfigError(f"target_modules is empty: name modules, or leave it out for {ALL_LINEAR!r}.")
    if names == [ALL_LINEAR]:
        return {module: parts for module, parts in modules.items() if "router" not in parts[0].path}
    every = [name for parts in modules.values() for name in full_names(parts[0], layers)]
    if len(names) == 1 and not any(_ends(each, names[0]) for each in every):
        try:
            expression = re.compile(names[0])
        except re.error:
            raise _no_module(names[0], modules) from None
        return _meant(names[0], lambda name: expression.fullmatch(name) is not None, modules, layers)
    for name in names:
        if not any(_ends(each, name) for each in every):
            raise _no_module(name, modules)
    return _meant(names, lambda each: any(_ends(each, name) for name in names), modules, layers)


def short_names(chosen: Modules, rows: Sequence[Row]) -> tuple[str, ...]:
    """Returns the shortest ends of names that mean the chosen modules and no others, experts among them.

    In a wrapper it is one regular expression for whole names: towers have modules of the same names.
    """
    layers = {row.name.partition("{layer}")[0] for parts in chosen.values() for row in parts}
    if layers != {"model.layers."}:
        return (f"{'|'.join(map(re.escape, layers))}\\d+\\.({'|'.join(map(re.escape, chosen))})",)
    every = {row.name.partition("{layer}.")[2].removesuffix(".weight") for row in rows if row.stacked}

    def short_name(module: str) -> str:
        last = module.rpartition(".")[2]
        return last if all(other in chosen for other in every if _ends(other, last)) else module

    return tuple(dict.fromkeys(map(short_name, chosen)))


def check_lora(lora: Lora, chosen: Modules, sizes: Sizes) -> None:
    """Raises ConfigError for a rank, alpha or dropout that cannot be."""
    if isinstance(lora.rank, bool) or not isinstance(lora.rank, int):
        raise ConfigError(f"the rank of the adapters ({lora.rank!r}) must be an integer.")
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


def adapter_rows(lora: Lora, chosen: Modules, sizes: Sizes) -> tuple[list[Row], dict[str, int]]:
    """Returns the rows of the weight table that the adapters add, and the sizes of its axes with those of the ranks.

    What is fused in the file has one A, and the rows of B are those of its parts, one after another.
    """
    found, sizes = [], dict(sizes)
    for module, rows in chosen.items():
        name = f"base_model.model.{rows[0].name.removesuffix('.weight')}"
        number, into = _rank(lora, module, rows, sizes), rows[0].sides[0][1]
        rank = f"rank{number}"
        sizes[rank] = number
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
    return found, sizes


def _ends(module: str, name: str) -> bool:
    return module == name or module.endswith(f".{name}")


def _meant(asked: str | Sequence[str], means: Callable[[str], bool], modules: Modules, layers: int) -> Modules:
    """Returns the modules all of whose names `means` takes.

    Raises:
        ConfigError: it takes some of the names of a module only, or none of any.
    """
    found = {}
    for module, rows in modules.items():
        names = full_names(rows[0], layers)
        matched = sum(map(means, names))
        if 0 < matched < len(names):
            raise ConfigError(
                f"target_modules = {asked!r:.200} matches {module} in {matched} of {len(names)} layers; adapters are "
                "in all layers or in none: write it so that it matches every layer."
            )
        if matched:
            found[module] = rows
    if not found:
        raise _no_module(str(asked), modules)
    return found


def _no_module(name: str, modules: Modules) -> ConfigError:
    last = [module.rpartition(".")[2] for module in modules]
    return ConfigError(
        f"target_modules: {name!r} is not a module that can have adapters.{nearest(name, last)} There are "
        f"{', '.join(modules)}; {ALL_LINEAR!r} takes all matrices but routers. "
        "Embedding, LM head and experts take none."
    )


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


def _group(axes: Sequence[str]) -> str:
    return axes[0] if len(axes) == 1 else f"({' '.join(axes)})"
