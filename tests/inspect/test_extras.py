"""What is missing is said, with how to install it."""

from easydel.inspect import extras
from easydel.inspect.extras import EXTRAS, missing_extras


def test_each_missing_package_is_a_note(monkeypatch):
    monkeypatch.setattr(extras, "has_extra", lambda module: module == "sklearn")
    (found,) = missing_extras()
    assert found.level == "note"
    assert "near duplicates: this needs datasketch, which is not installed: `pip install '.[inspect]'`" in found.text
    monkeypatch.setattr(extras, "has_extra", lambda module: False)
    assert [each.figures["package"] for each in missing_extras()] == [package for package, _ in EXTRAS.values()]


def test_a_module_of_python_is_there():
    assert extras.has_extra("json")
    assert not extras.has_extra("no_such_module")
