"""Which modules of a model have adapters: from names as PEFT takes them to rows of the weight table, and back."""

import re
from collections.abc import Mapping, Sequence

from easydel.errors import ConfigError, nearest
from easydel.weights.table import Row

ALL_LINEAR = "all-linear"


def linear_modules(rows: Sequence[Row]) -> dict[str, Row]:
    """Returns the row of each matrix that may have adapters, by the name of its module within a layer.

    Experts have none, and neither have modules that hold several of our matrices side by side, as Phi-3's `qkv_proj`.

    >>> list(linear_modules([Row("model.layers.{layer}.mlp.up_proj.weight", ("layers", "up", "kernel"), "m e -> e m")]))
    ['mlp.up_proj']
    """
    return {
        row.name.partition("{layer}.")[2].removesuffix(".weight"): row
        for row in rows
        if row.stacked and row.path[-1] == "kernel" and row.part is None and "{expert}" not in row.name
    }


def chosen_modules(target_modules: str | Sequence[str] | None, rows: Sequence[Row], layers: int) -> dict[str, Row]:
    """Returns those of `linear_modules` that `target_modules` means, as PEFT understands it.

    Args:
        target_modules: names or ends of names such as `q_proj`; `all-linear` or None for all; or one regular expression
            that matches whole names, `model.layers.0.self_attn.q_proj`.

    Raises:
        ConfigError: a name that means no module, or an expression that means one in some layers only.
    """
    modules = linear_modules(rows)
    names = [target_modules] if isinstance(target_modules, str) else list(target_modules or [ALL_LINEAR])
    if names == [ALL_LINEAR]:
        return modules
    if len(names) == 1 and not any(_ends(module, names[0]) for module in modules):
        return _by_expression(names[0], modules, layers)
    for name in names:
        if not any(_ends(module, name) for module in modules):
            raise _no_module(name, modules)
    return named_modules(names, rows)


def named_modules(names: Sequence[str], rows: Sequence[Row]) -> dict[str, Row]:
    """Returns those of `linear_modules` whose names end with one of `names`."""
    return {module: row for module, row in linear_modules(rows).items() if any(_ends(module, name) for name in names)}


def short_names(chosen: Mapping[str, Row], rows: Sequence[Row]) -> tuple[str, ...]:
    """Returns the shortest ends of names that mean the chosen modules and no others."""

    def shortest(module: str) -> str:
        last = module.rpartition(".")[2]
        return last if all(other in chosen for other in linear_modules(rows) if _ends(other, last)) else module

    return tuple(dict.fromkeys(map(shortest, chosen)))


def _ends(module: str, name: str) -> bool:
    return module == name or module.endswith(f".{name}")


def _by_expression(expression: str, modules: Mapping[str, Row], layers: int) -> dict[str, Row]:
    try:
        whole_name = re.compile(expression)
    except re.error:
        raise _no_module(expression, modules) from None
    found = {}
    for module, row in modules.items():
        having = range(layers) if row.layers is None else row.layers
        names = [row.name.format(layer=layer).removesuffix(".weight") for layer in having]
        matched = sum(whole_name.fullmatch(name) is not None for name in names)
        if 0 < matched < len(having):
            raise ConfigError(
                f"target_modules = {expression!r} matches {module} in {matched} of {len(having)} layers; adapters are "
                "in all layers or in none: write it so that it matches every layer."
            )
        if matched:
            found[module] = row
    if not found:
        raise _no_module(expression, modules)
    return found


def _no_module(name: str, modules: Mapping[str, Row]) -> ConfigError:
    last = [module.rpartition(".")[2] for module in modules]
    return ConfigError(
        f"target_modules: {name!r} is no module that can have adapters.{nearest(name, last)} There are "
        f"{', '.join(modules)}; {ALL_LINEAR!r} takes them all. "
        "Embedding, LM head, experts and fused matrices take none."
    )
