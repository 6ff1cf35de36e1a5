"""Whole files: what was cut short or taken away since it was written is named."""

import re

import pytest

from easydel.trainers.whole import require_whole, write_sizes


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "state" / "d").mkdir(parents=True)
    (tmp_path / "state" / "manifest").write_bytes(bytes(3))
    (tmp_path / "state" / "d" / "values").write_bytes(bytes(2048))
    write_sizes(tmp_path / "state")
    return tmp_path / "state"


def test_files_of_the_sizes_written_down_are_whole(folder):
    require_whole(folder)
    (folder / "d" / "of another program").write_bytes(b"is not looked at")
    require_whole(folder)


@pytest.mark.parametrize("size", [0, 2047, 2049])
def test_a_file_of_another_size_is_named_with_both_sizes(folder, size):
    (folder / "d" / "values").write_bytes(bytes(size))
    with pytest.raises(OSError, match=re.escape(f"state/d/values is {size:,} bytes where 2,048 bytes were written")):
        require_whole(folder)


def test_a_file_that_is_gone_is_named(folder):
    (folder / "manifest").unlink()
    with pytest.raises(OSError, match="state/manifest is missing where 3 bytes were written"):
        require_whole(folder)


def test_a_folder_of_an_earlier_version_has_no_sizes_to_ask(tmp_path):
    (tmp_path / "manifest").write_bytes(bytes(3))
    require_whole(tmp_path)
