import pytest

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage import checksums
from danmax_bluesky.storage.checksums import changed, note_of
from danmax_bluesky.testing.damage import leave_open


def test_a_small_file_is_digested_whole(tmp_path):
    path = tmp_path / "sub" / "a.bin"
    path.parent.mkdir()
    path.write_bytes(b"abc")
    note = note_of(path, tmp_path, "/exchange")
    assert (note.path, note.data, note.size, note.method) == ("sub/a.bin", "/exchange", 3, "sha256")
    assert note.checksum.startswith("ba7816bf")
    assert changed(note, path) == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"abd", "has changed: sha256"), (b"ab", "is truncated: 2 bytes, recorded were 3"), (b"abcd", "has grown")],
)
def test_every_change_is_told(tmp_path, content, said):
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    note = note_of(path, tmp_path)
    path.write_bytes(content)
    assert said in changed(note, path)
    path.unlink()
    assert changed(note, path) == "is missing"


def test_a_large_file_is_sampled_and_read_whole_when_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(checksums, "LARGE_BYTES", 4 * 2**20)
    path = tmp_path / "a.bin"
    content = bytearray(24 * 2**20)
    path.write_bytes(content)
    sampled, whole = note_of(path, tmp_path), note_of(path, tmp_path, deep=True)
    assert (sampled.method, whole.method) == ("sha256-sampled", "sha256")
    content[-1] = 1
    path.write_bytes(content)
    assert "has changed" in changed(sampled, path)
    assert changed(whole, path) == ""
    assert "has changed" in changed(whole, path, deep=True)


def test_a_file_that_its_writer_has_not_closed_has_no_digest_yet(tmp_path):
    import h5py

    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["x"] = 1
    assert note_of(path, tmp_path).checksum
    leave_open(path)
    note = note_of(path, tmp_path)
    assert (note.size, note.checksum) == (None, "")
    assert changed(note, path) == ""


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"gone cannot be read"):
        note_of(tmp_path / "gone", tmp_path)
