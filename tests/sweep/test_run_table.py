"""A table of finished runs: which columns are what, and each thing that can be wrong with it."""

from pathlib import Path

import pytest

from sweep.errors import SweepError
from sweep.run_table import RunTable, read_table

GRID = """model,learning_rate,lora_rank,lora_target,test_nll,minutes
a/one,1e-4,8,qv,0.52,10
a/one,3e-4,16,all,0.50,11
b/two,1e-4,8,qv,0.72,12
"""


def read(
    tmp_path: Path, text: str | bytes, value: str = "", where: tuple[str, ...] = (), extra: tuple[str, ...] = ()
) -> RunTable:
    file = tmp_path / "runs.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(file, value, where, extra)


def refused(tmp_path: Path, text: str | bytes, value: str = "", where: tuple[str, ...] = ()) -> str:
    with pytest.raises(SweepError) as caught:
        read(tmp_path, text, value, where)
    assert str(caught.value).count("\n") <= 1
    return str(caught.value)


def test_columns_are_knobs_loss_group_or_noted(tmp_path: Path) -> None:
    table = read(tmp_path, GRID, where=("model=a/one",))
    assert table.loss == "test_nll"
    assert table.knobs == [
        {"learning_rate": 1e-4, "lora_rank": 8, "lora_target": "qv"},
        {"learning_rate": 3e-4, "lora_rank": 16, "lora_target": "all"},
    ]
    assert [type(value) for value in table.knobs[0].values()] == [float, int, str]
    assert table.losses == [0.52, 0.50]
    assert table.others == [{"minutes": "10"}, {"minutes": "11"}]
    assert table.groups == {"model": "a/one"}
    assert table.where == {"model": "a/one"}
    assert table.lines == [2, 3]


def test_any_column_can_be_named_a_knob(tmp_path: Path) -> None:
    table = read(tmp_path, GRID, extra=("model", "minutes"))
    assert table.knobs[2] == {"model": "b/two", "learning_rate": 1e-4, "lora_rank": 8, "lora_target": "qv"} | {
        "minutes": 12
    }
    assert table.groups == {}


def test_losses_compare_within_one_model_only(tmp_path: Path) -> None:
    message = refused(tmp_path, GRID)
    assert "2 values of model" in message
    assert "--where model=" in message
    assert "a/one, b/two" in message


def test_the_only_model_of_a_table_needs_no_choice(tmp_path: Path) -> None:
    assert read(tmp_path, "model,lora_rank,loss\nm,8,1.5\n").groups == {"model": "m"}


def test_a_mark_of_the_byte_order_spaces_and_empty_lines_do_no_harm(tmp_path: Path) -> None:
    table = read(tmp_path, b"\xef\xbb\xbflora_rank , loss\r\n 8 , 1.5\r\n\r\n16,1.25\r\n")
    assert table.knobs == [{"lora_rank": 8}, {"lora_rank": 16}]
    assert table.lines == [2, 4]


def test_whole_numbers_need_all_cells_to_be_whole(tmp_path: Path) -> None:
    table = read(tmp_path, "warmup_ratio,lora_rank,loss\n0,8.0,1\n0.1,16,2\n")
    assert table.knobs == [{"warmup_ratio": 0.0, "lora_rank": 8}, {"warmup_ratio": 0.1, "lora_rank": 16}]
    assert isinstance(table.knobs[0]["warmup_ratio"], float)
    assert isinstance(table.knobs[0]["lora_rank"], int)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("no rows",)),
        ("lora_rank,loss\n", ("no rows",)),
        ("lora_rank,accuracy\n8,0.9\n", ("no value column", "eval_loss, test_nll, loss", "accuracy", "--value")),
        ("lora_rank,loss,eval_loss\n8,1,2\n", ("eval_loss and loss", "--value eval_loss")),
        ("lora_rank,loss\n8,low\n16,2\n8,high\n", ("lines 2, 4", "loss is 'low'", "finite number")),
        ("lora_rank,loss\n8,nan\n", ("line 2", "'nan'", "diverged")),
        ("lora_rank,loss\n8,inf\n", ("line 2", "'inf'")),
        ("lora_rank,loss\n8,\n", ("line 2", "''")),
        ("lora_rank,loss\nr8,1\n", ("line 2", "lora_rank is 'r8'")),
        ("lora_rank,loss\n,1\n8,2\n", ("line 2", "no lora_rank")),
        ("lora_rank,loss\n8,1\n8\n8,1,2\n", ("lines 3, 4", "not 2 cells")),
        ("lora_rank,lora_rank,loss\n8,8,1\n", ("two columns named 'lora_rank'",)),
        ("lora_rank,,loss\n8,8,1\n", ("a column without a name",)),
        ("rank,loss\n8,1\n", ("no column that is a knob", "rank, loss", "--knob")),
        (b"lora_rank,loss\n8,\xff\n", ("not a CSV file in UTF-8",)),
        ('lora_rank,loss\n8,"1\n', ("not a CSV file",)),
    ],
)
def test_what_is_wrong_is_said_with_its_lines(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    message = refused(tmp_path, text)
    assert "runs.csv" in message
    for word in words:
        assert word in message


def test_many_bad_lines_are_counted(tmp_path: Path) -> None:
    assert "lines 2, 3, 4, 5, 6 and 15 more" in refused(tmp_path, "lora_rank,loss\n" + "8,x\n" * 20)


@pytest.mark.parametrize(
    ("value", "where", "words"),
    [
        ("nll", (), ("no column 'nll'", "--value", "test_nll")),
        ("", ("modle=a",), ("no column 'modle'", "--where")),
        ("", ("model",), ("--where is 'model'", "COLUMN=VALUE")),
        ("", ("model=c",), ("no row with model=c", "a/one, b/two")),
    ],
)
def test_options_that_fit_no_column_are_refused(
    tmp_path: Path, value: str, where: tuple[str, ...], words: tuple[str, ...]
) -> None:
    message = refused(tmp_path, GRID, value, where)
    for word in words:
        assert word in message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"no file .*none\.csv"):
        read_table(tmp_path / "none.csv")


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="cannot be read"):
        read_table(tmp_path)
