import os
import stat
import warnings
from pathlib import Path

import numpy as np
import pytest

from easydel.data.cache import content_key, open_cache, read_arrays, write_arrays
from easydel.errors import ConfigError

ARRAYS = {"ids": np.arange(1000, dtype=np.int32), "logps": np.linspace(0, 1, 7, dtype=np.float32)}


@pytest.fixture
def written(tmp_path) -> Path:
    write_arrays(tmp_path / "a.npz", "k", ARRAYS)
    return tmp_path / "a.npz"


def test_arrays_are_read_back_bit_for_bit_and_leave_no_other_file(written):
    found = read_arrays(written, "k")
    assert found is not None
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].tobytes()) == (array.dtype, array.tobytes())
    assert list(written.parent.iterdir()) == [written]


def test_the_same_arrays_give_the_same_bytes(written):
    write_arrays(written.with_name("b.npz"), "k", dict(ARRAYS))
    assert written.read_bytes() == written.with_name("b.npz").read_bytes()


def test_only_this_user_may_enter_the_folder_and_read_the_files(tmp_path):
    (tmp_path / "tokens").mkdir(mode=0o755)
    folder = open_cache(str(tmp_path), "tokens")
    assert folder is not None
    assert folder == tmp_path / "tokens"
    write_arrays(folder / "a.npz", "k", ARRAYS)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "a.npz").stat().st_mode) == 0o600


def test_auto_is_the_cache_folder_of_the_user_and_none_is_no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert open_cache("auto", "tokens") == tmp_path / "xdg" / "easydel" / "tokens"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert open_cache("auto", "tokens") == tmp_path / "home" / ".cache" / "easydel" / "tokens"
    assert open_cache("~/mine", "tokens") == tmp_path / "home" / "mine" / "tokens"
    assert open_cache(None, "tokens") is None


def test_a_named_folder_that_cannot_be_used_is_an_error_and_the_usual_one_a_warning(tmp_path, monkeypatch):
    (tmp_path / "easydel").write_text("a file is in the way")
    with pytest.raises(ConfigError, match=r"easydel/tokens cannot be used: Not a directory\. Set cache_directory to"):
        open_cache(str(tmp_path / "easydel"), "tokens")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.warns(UserWarning, match="Nothing is kept for the next run"):
        assert open_cache("auto", "tokens") is None


@pytest.mark.parametrize("left", [0, 1, 100, 4000, -1])
def test_a_file_cut_short_anywhere_is_named_and_not_used(written, left):
    written.write_bytes(written.read_bytes()[:left])
    with pytest.warns(UserWarning, match=r"a\.npz in the cache is not used: it is damaged or cut short .* made again"):
        assert read_arrays(written, "k") is None


def test_a_changed_byte_is_found(written):
    content = bytearray(written.read_bytes())
    content[content.index(ARRAYS["ids"].tobytes()) + 500] ^= 1
    written.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged or cut short"):
        assert read_arrays(written, "k") is None


def test_files_of_another_kind_are_not_used_and_never_unpickled(tmp_path):
    path = tmp_path / "a.npz"
    writers = (
        lambda: path.write_text("hello"),
        lambda: np.savez(path, key=np.array("k"), ids=np.array([{}], dtype=object)),
        lambda: np.savez(path, ids=np.arange(3)),
        lambda: np.save(path.with_suffix(""), np.arange(3)) or path.with_suffix(".npy").rename(path),
    )
    for write in writers:
        write()
        with pytest.warns(UserWarning, match="damaged"):
            assert read_arrays(path, "k") is None


def test_a_file_of_other_content_is_not_used(written):
    with pytest.warns(UserWarning, match="it was written for other content"):
        assert read_arrays(written, "another") is None


def test_what_is_not_there_is_not_worth_a_word(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_arrays(tmp_path / "a.npz", "k") is None


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_arrays(tmp_path / "a.npz", "k", ARRAYS)
    assert list(tmp_path.iterdir()) == []


def test_a_key_depends_on_where_its_parts_end():
    keys = {content_key(parts) for parts in ([b"ab", b"c"], [b"a", b"bc"], [b"abc"], [b"abc", b""], [])}
    assert len(keys) == 5
    assert all(len(key) == 32 for key in keys)
