"""Whole files: what was cut short or taken away since it was written is named."""

import re

import pytest

from easydel.trainers.record.checkpoint_integrity import SIZES, check_sizes, write_sizes


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "state" / "d").mkdir(parents=True)
    (tmp_path / "state" / "manifest").write_bytes(bytes(3))
    (tmp_path / "state" / "d" / "values").write_bytes(bytes(2048))
    write_sizes(tmp_path / "state")
    return tmp_path / "state"


def test_files_of_the_sizes_written_down_are_whole(folder):
    check_sizes(folder)
    (folder / "d" / "of another program").write_bytes(b"is not looked at")
    check_sizes(folder)


@pytest.mark.parametrize("size", [0, 2047, 2049])
def test_a_file_of_another_size_is_named_with_both_sizes(folder, size):
    (folder / "d" / "values").write_bytes(bytes(size))
    with pytest.raises(OSError, match=re.escape(f"state/d/values is {size:,} bytes where 2,048 bytes were written")):
        check_sizes(folder)


def test_a_file_that_is_gone_is_named(folder):
    (folder / "manifest").unlink()
    with pytest.raises(OSError, match="state/manifest is missing where 3 bytes were written"):
        check_sizes(folder)


def test_a_folder_whose_sizes_are_gone_is_not_trusted(folder):
    (folder / SIZES).unlink()
    with pytest.raises(OSError, match=SIZES):
        check_sizes(folder)
