"""Which modules of a model have adapters: from names as PEFT takes them to rows of the weight table, and back."""

import re
from collections.abc import Callable, Mapping, Sequence

from easydel.errors import ConfigError, nearest
from easydel.weights.table import Row

ALL_LINEAR = "all-linear"
Modules = Mapping[str, tuple[Row, ...]]  # by the name within a layer; several rows are side by side in one tensor


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
        return _meant(names[0], _by_expression(names[0], modules), modules, layers)
    for name in names:
        if not any(_ends(each, name) for each in every):
            raise _no_module(name, modules)
    return _meant(names, lambda each: any(_ends(each, name) for name in names), modules, layers)


def short_names(chosen: Modules, rows: Sequence[Row]) -> tuple[str, ...]:
    """Returns the shortest ends of names that mean the chosen modules and no others, experts among them."""
    every = {row.name.partition("{layer}.")[2].removesuffix(".weight") for row in rows if row.stacked}

    def shortest(module: str) -> str:
        last = module.rpartition(".")[2]
        return last if all(other in chosen for other in every if _ends(other, last)) else module

    return tuple(dict.fromkeys(map(shortest, chosen)))


def _ends(module: str, name: str) -> bool:
    return module == name or module.endswith(f".{name}")


def _by_expression(expression: str, modules: Modules) -> Callable[[str], bool]:
    try:
        whole_name = re.compile(expression)
    except re.error:
        raise _no_module(expression, modules) from None
    return lambda name: whole_name.fullmatch(name) is not None


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
        f"target_modules: {name!r} is no module that can have adapters.{nearest(name, last)} There are "
        f"{', '.join(modules)}; {ALL_LINEAR!r} takes all matrices but routers. "
        "Embedding, LM head and experts take none."
    )
