"""What a field says of its option: group, choices, types, and what `free_option` adds."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import pytest

from easydel.errors import ConfigError
from easydel.trainers.options.fields import (
    choices_of,
    element_type,
    field_types,
    free_option,
    groups_of,
    listed,
    option,
    read_yaml,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Oven:
    degrees: int | Literal["max"] = option(180, "temperature", group="heat", at_least=0)
    mode: str | list[str] | Callable[..., Any] = option("air", "how it heats", choices=("air", "grill"))
    timer: float | None = option(None, "minutes (default: no limit)", group="clock")
    bell: bool = free_option(False, "ring at the end")


def test_a_field_knows_its_types_its_choices_and_what_a_list_of_it_holds():
    types, fields = field_types(Oven), {field.name: field for field in dataclasses.fields(Oven)}
    assert types == {
        "degrees": (int, "max"),
        "mode": (str, list[str], Callable),
        "timer": (float, type(None)),
        "bell": (bool,),
    }
    assert [choices_of(fields[name], types[name]) for name in fields] == [("max",), ("air", "grill"), (), ()]
    assert [element_type(types[name]) for name in fields] == [None, str, None, None]


def test_only_a_free_option_may_change_on_resume():
    free = {field.name for field in dataclasses.fields(Oven) if field.metadata["may_change_on_resume"]}
    assert free == {"bell"}


def test_groups_go_on_until_the_next_and_those_of_one_title_are_one():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Alarm:
        volume: int = option(1, "how loud", group="clock")

    groups = groups_of(Oven, Alarm)
    assert {title: [field.name for field, _ in fields] for title, fields in groups.items()} == {
        "heat": ["degrees", "mode"],
        "clock": ["timer", "bell", "volume"],
    }


def test_names_are_listed_as_in_a_sentence():
    assert [listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["'a'", "'a' or 'b'", "'a', 'b' or 'c'"]


@pytest.mark.parametrize(
    ("text", "found"), [("", {}), ("# nothing\n", {}), ("a: 1\nb: 5e-7\n1: x\n", {"a": 1, "b": "5e-7", "1": "x"})]
)
def test_a_yaml_file_is_read_as_names_and_values(tmp_path, text, found: dict[str, Any]):
    (tmp_path / "run.yaml").write_text(text)
    assert read_yaml(tmp_path / "run.yaml") == found


def test_a_yaml_file_that_is_missing_or_is_not_names_and_values_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"Cannot read the configuration .*none\.yaml': No such file"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- beta")
    with pytest.raises(ConfigError, match=r"list\.yaml must hold 'name: value' lines, but holds a list"):
        read_yaml(tmp_path / "list.yaml")
