"""Rows of the weight table in the forms that most of them have: linear layers, and several in one tensor."""

from easydel.weights.table import Part, Row

LAYER = "model.layers.{layer}"


def linear(name: str, path: str, out: str, into: str, *, bias: bool, at: tuple[str, ...] = ()) -> list[Row]:
    """Returns the rows of a linear layer: the file keeps [out, in], we keep the input axes first.

    Args:
        path: in our nested dict, within `at` of a layer.
    """
    here = ("layers", *at, path)
    rows = [Row(f"{LAYER}.{name}.weight", (*here, "kernel"), matrix(out, into))]
    if bias:
        # The bias of an output projection lies on the residual stream, which is not split.
        axes = "residual" if out == "embed" else out
        rows.append(Row(f"{LAYER}.{name}.bias", (*here, "bias"), f"{axes} -> {axes.strip('()')}", "zeros"))
    return rows


def fused(name: str, outs: dict[str, str], into: str, *, bias: bool = False, at: tuple[str, ...] = ()) -> list[Row]:
    """Returns the rows of linear layers of one input that lie side by side in one tensor; `outs` is by our path."""
    groups = tuple(out.strip("()") for out in outs.values())
    parts = [linear(name, path, out, into, bias=bias, at=at) for path, out in outs.items()]
    return [row._replace(part=Part(index, groups)) for index, rows in enumerate(parts) for row in rows]


def matrix(out: str, into: str) -> str:
    """Returns the pattern of a matrix that the file keeps as [out, in]."""
    return f"{out} {into} -> {into.strip('()')} {out.strip('()')}"
