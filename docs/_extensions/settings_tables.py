"""The directive `settings`: a table for each group of options, made from the help strings that `--help` shows."""

import dataclasses
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from easydel.scripts.finetune.run_config import RunConfig
from easydel.trainers.config import DPOConfig
from easydel.trainers.options.fields import choices_of, element_type, groups_of

CLASSES = {"DPOConfig": DPOConfig, "RunConfig": RunConfig}
_KINDS = {
    bool: "true or false",
    int: "integer",
    float: "number",
    str: "string",
    dict: "NAME=VALUE pairs, or a dict",
}


class SettingsTables(SphinxDirective):
    """``{settings} DPOConfig`` stands for the tables of that dataclass."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        made: list[nodes.Node] = []
        for group, fields in groups_of(CLASSES[self.arguments[0]]).items():
            section = nodes.section(ids=[nodes.make_id(f"{self.arguments[0]}-{group}")])
            section += nodes.title(text=group[0].upper() + group[1:])
            section += self._table(fields)
            made.append(section)
        return made

    def _table(self, fields: list[tuple[dataclasses.Field[Any], tuple[Any, ...]]]) -> nodes.table:
        body = nodes.tbody()
        for field, kinds in fields:
            name = nodes.paragraph("", "", nodes.literal(text=field.name))
            allowed = nodes.paragraph(text=f"{values(field, kinds)}; ")
            allowed += nodes.literal(text=str(field.default))
            body += row(name, allowed, nodes.paragraph(text=field.metadata["help"]))
        columns = [nodes.colspec(colwidth=width) for width in (24, 30, 46)]
        head = nodes.thead("", row(*(nodes.paragraph(text=word) for word in ("option", "values; default", "meaning"))))
        return nodes.table("", nodes.tgroup("", *columns, head, body, cols=3))


def row(*cells: nodes.Node) -> nodes.row:
    return nodes.row("", *(nodes.entry("", cell) for cell in cells))


def values(field: dataclasses.Field[Any], kinds: tuple[Any, ...]) -> str:
    """Returns in words what an option may be: its choices, or its kind and its range."""
    choices = choices_of(field, kinds)
    kind = element_type(kinds) or next((kind for kind in _KINDS if kind in kinds), None)
    is_number = kind in (int, float)
    said = ", ".join([*([_KINDS[kind]] if is_number else []), *choices]) or _KINDS[kind]
    if field.metadata["share"]:
        said = f"{said}, a share below 1" if not choices else f"integer, a share below 1, {', '.join(choices)}"
    limits = " and ".join(f"{words} {limit}" for words, limit in field.metadata["limits"].items())
    several = ", or several" if element_type(kinds) else ""
    none = " or none" if type(None) in kinds else ""
    return f"{said}{several}{none}{' ' if limits else ''}{limits}"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("settings", SettingsTables)
    return {"parallel_read_safe": True}
