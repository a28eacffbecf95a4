"""Texts of other people: a value, or one error on one line."""

import os

import pytest

from danmax_bluesky.errors import SettingsError
from danmax_bluesky.parsing import expecting, nearest, parse, read_text, shown

_BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
_MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40))


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        ("JSON", "[" * 100_000, "more than 40 lists or tables lie in each other"),
        ("JSON", '{"a": ' * 60 + "1" + "}" * 60, "more than 40 lists"),
        ("JSON", "9" * 5000, "a number has more than 4300 digits"),
        ("JSON", '"\\ud800"', "what is no character"),
        ("TOML", "a" + ".a" * 100_000 + " = 1", "more than 40 lists or tables"),
        ("TOML", "a = " + "[" * 100_000, "more than 40 lists or tables"),
        ("TOML", "a = 0x" + "f" * 5000, "more than 64 bits"),
        ("TOML", "a = = 1", r"at line 1, column 5"),
        ("YAML", _BOMB, "its aliases stand for more than 100,000 values|more than 40 lists"),
        ("YAML", _MERGES, "its aliases stand for more than 100,000 values|more than 40 lists"),
        ("YAML", "&a [*a]", "more than 40 lists"),
        ("YAML", "- " * 50_000, "more than 40 lists"),
        ("YAML", "[" * 3000, "more than 40 lists"),
        ("YAML", "{a: " * 3000, "more than 40 lists"),
        ("YAML", "a: !!python/name:os.system", "could not determine a constructor"),
        ("YAML", "[a, b", r"at line 1, column 6"),
        ("YAML", "x" * 300_000, "longer than 262,144 bytes"),
    ],
)
def test_what_nobody_writes_by_hand_is_one_error_on_one_line(kind, text, told):
    with pytest.raises(SettingsError, match=told) as error:
        parse(text, kind, "the file", SettingsError)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("the file ")


def test_a_word_of_yaml_is_a_text_unless_it_says_null():
    read = parse("{a: 2026.10, b: 2026-13-45, c: off, d: 0012, e: null, f: 12:30}", "YAML", "it", SettingsError)
    assert read == {"a": "2026.10", "b": "2026-13-45", "c": "off", "d": "0012", "e": None, "f": "12:30"}


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    (tmp_path / "long").write_bytes(b"x" * 3_000_000)
    for name, told in [
        ("pipe", "it is a pipe or a device"),
        ("endless", "it is a pipe or a device"),
        ("loop", "Too many levels of symbolic links"),
        (".", "it is a folder"),
        ("gone", "No such file or directory"),
        ("latin", "no text in UTF-8"),
        ("long", "longer than 1,048,576 bytes"),
        ("n\0l", "null"),
    ]:
        with pytest.raises(SettingsError, match=told):
            read_text(tmp_path / name, SettingsError)
    assert read_text(tmp_path / "gone", SettingsError, missing="{}") == "{}"
    assert read_text(tmp_path / "latin", SettingsError, errors="replace") == "caf\ufffd"


def test_a_value_in_a_message_stays_on_a_line():
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown("x" * 1000)) <= 120
    assert shown(10**5000) == "a int that is too long to show"


def test_what_a_reader_did_not_expect_is_one_error_and_ours_pass():
    with pytest.raises(SettingsError, match=r"cal\.json is damaged.*KeyError: 'Geometry'.*save it again"):
        with expecting("cal.json", SettingsError, "save it again"):
            {}["Geometry"]
    with pytest.raises(SettingsError, match=r"^ours$"):
        with expecting("cal.json", SettingsError):
            raise SettingsError("ours")


def test_a_mistyped_name_is_answered_with_the_one_that_was_meant():
    assert nearest("smaple", ["sample", "folder"]) == "did you mean 'sample'?"
    assert nearest("xyz", ["sample", "folder"]) == "known are folder, sample"
