from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spaces.errors import SpaceError
from spaces.yamlfile import LARGEST_FILE, parse_scalar, parse_yaml


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4", 1e-4),
        ("-1E5", -1e5),
        ("1.5e3", 1500.0),
        (".5e+2", 50.0),
        ("1.0e-4", 1e-4),
        ("8", 8),
        ("0.1", 0.1),
        ("true", True),
        ("cosine", "cosine"),
        ("2:1", "2:1"),
        ("2024-01-01", "2024-01-01"),
        ("2024-99-99", "2024-99-99"),
        ("null", None),
        ("'8'", "8"),
        ('"1e-4"', "1e-4"),
    ],
)
def test_scalars_read_alike_in_a_file_and_on_the_command_line(text: str, expected: object) -> None:
    for value in (parse_scalar(text), parse_yaml(f"x: {text}".encode())["x"]):
        assert value == expected
        assert type(value) is type(expected)


@pytest.mark.parametrize("text", [".inf", "-.inf", ".nan", "1e999", "9" * 19, "9" * 5000])
def test_numbers_that_nothing_can_reckon_with_are_refused(text: str) -> None:
    with pytest.raises(SpaceError):
        parse_scalar(text)
    with pytest.raises(SpaceError, match="line 2"):
        parse_yaml(f"a: 1\nx: {text}".encode())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: 'a' is given twice"),
        ("x:\n  a: 1\n  a: 3", "line 3: 'a' is given twice"),
        ("a: &x 1\nb: *x", "line 1: anchors and aliases"),
        ("a: 1\nb: *x", "line 2: anchors and aliases"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]", "line 2: tags"),
        ("a: !!int ''", "line 1: tags"),
        ("a: ! b", "line 1: tags"),
        ("a: 1\n8: 2", "line 2: the key '8' is not a name"),
        ("<<: {a: 1}", "line 1: the key '<<' is not a name"),
        ("[a]: 1", "line 1: the key here is not a name"),
        ("a: 1\nb: [1, 2", "line 2: not YAML"),
        ("a: 1\n\tb: 2", "line 2: not YAML"),
        ("a: 1\n---\nb: 2", "line 2: not YAML (but found another document)"),
        ("a: 1\nb: \x07", "line 2: a control character, U+0007"),
        ("[" * 30, "line 1: nested more than 20 deep"),
        ('a: "\\UFFFFFFFF"', "not YAML"),
        ("%YAML " + "9" * 5000 + ".1\n--- a", "not YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(SpaceError) as error:
        parse_yaml(text.encode())
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_bytes_that_are_not_text_are_refused_with_their_line() -> None:
    with pytest.raises(SpaceError, match="line 2: not UTF-8"):
        parse_yaml(b"a: 1\nb: \xff")


def test_a_byte_order_mark_is_no_matter() -> None:
    assert parse_yaml(b"\xef\xbb\xbfa: 1") == {"a": 1}


def test_a_large_file_is_refused() -> None:
    assert parse_yaml(b"#" * LARGEST_FILE) is None
    with pytest.raises(SpaceError, match="larger than 1,000,000 bytes"):
        parse_yaml(b"#" * (LARGEST_FILE + 1))


PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.text(alphabet="abc xyz_-'\"", max_size=8)
    | st.integers(-1000, 1000)
    | st.booleans()
    | st.floats(-1e6, 1e6).map(lambda x: round(x, 3)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.from_regex(r"k[a-z]{1,5}", fullmatch=True), inner),
    max_leaves=12,
)


@given(PLAIN)
def test_reads_what_safe_load_reads(data: Any) -> None:
    text = yaml.safe_dump(data)
    assert parse_yaml(text.encode()) == yaml.safe_load(text) == data


@given(st.binary(max_size=200) | st.text(alphabet="ab1:-[]{}'\"&*!|>%?#,.\n e~<=\\", max_size=80).map(str.encode))
def test_no_bytes_raise_anything_but_a_space_error(data: bytes) -> None:
    with suppress(SpaceError):
        parse_yaml(data)
