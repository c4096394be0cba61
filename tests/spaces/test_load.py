import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spaces.errors import SpaceError
from spaces.load import LIBRARY, list_spaces, load_space
from spaces.parameter import Parameter, Scalar

SHIPPED = sorted(path.stem for path in LIBRARY.glob("*.yaml"))
TEXT = "stage: sft\nsearch: {lora_rank: {choice: [8, 16]}}\n"


def test_all_shipped_spaces_are_listed_by_name() -> None:
    assert [space.name for space in list_spaces()] == SHIPPED
    assert "sft_lora" in SHIPPED


def test_the_first_trial_of_sft_lora_is_the_guides() -> None:
    space = load_space("sft_lora")
    (point,) = space.start
    params = space.walk(lambda knob: point[knob.name])
    assert params == {
        "stage": "sft",
        "lr_scheduler_type": "cosine",
        "cutoff_len": 1024,
        "lora_dropout": 0.0,
        "learning_rate": 1e-4,
        "lora_rank": 8,
        "alpha_ratio": 2,
        "lora_alpha": 16,
        "lora_target": "all",
        "warmup_ratio": 0.1,
        "num_train_epochs": 2,
        "effective_batch_size": 16,
    }


def test_sft_lora_keeps_alpha_between_8_and_32_at_one_or_two_to_one() -> None:
    space = load_space("sft_lora")
    pairs = set()
    for rank in (8, 16, 32):
        for ratio in (1, 2):
            drawn: dict[str, Scalar] = {**space.start[0], "lora_rank": rank, "alpha_ratio": ratio}

            def suggest(knob: Parameter, drawn: dict[str, Scalar] = drawn) -> Scalar:
                return drawn[knob.name]

            params = space.walk(suggest)
            pairs.add((params["lora_rank"], params["lora_alpha"]))
    assert pairs == {(8, 8), (8, 16), (16, 16), (16, 32), (32, 32)}
    assert space.settings() == (5 * 4 * 3 * 4 * 3, ("learning_rate",))


def test_an_unknown_name_is_guessed_and_the_shipped_ones_listed() -> None:
    with pytest.raises(SpaceError) as error:
        load_space("sft-lora")
    assert str(error.value) == (
        f"no space named 'sft-lora'. Did you mean sft_lora? Shipped: {', '.join(SHIPPED)}. "
        "A path to a YAML file works too."
    )


@pytest.mark.parametrize("name", ["", "zzz", "..", "a\x00b", "x" * 5000, "sft_lora.txt"])
def test_names_of_nothing(name: str) -> None:
    with pytest.raises(SpaceError, match="no space named"):
        load_space(name)


@pytest.mark.parametrize("name", ["my.yaml", "my.yml", "space_file"])
def test_a_file_is_loaded_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    for given_path in (name, os.path.join(".", name), str(tmp_path / name)):
        space = load_space(given_path)
        assert space.name == Path(name).stem
        assert space.source == given_path


def test_a_tilde_is_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.yaml").write_text(TEXT)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_space("~/my.yaml").name == "my"


def test_paths_of_nothing_say_so(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (
        "nowhere.yaml",
        "no/where",
        str(tmp_path),
        str(tmp_path / "folder.yaml"),
        str(tmp_path / "pipe.yaml"),
    ):
        with pytest.raises(SpaceError) as error:
            load_space(path)
        assert str(error.value) == f"{path}: there is no such file"


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(TEXT)

    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SpaceError, match=r"my\.yaml: cannot be read \(Permission denied\)"):
        load_space(str(path))


def test_a_mistake_names_the_path_as_given(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("stage: sft\nstage: pt\n")
    with pytest.raises(SpaceError) as error:
        load_space(str(path))
    assert str(error.value) == f"{path}: line 2: 'stage' is given twice; keep one"


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(b"# " + b"x" * 1_000_000)
    with pytest.raises(SpaceError, match="larger than 1,000,000 bytes"):
        load_space(str(path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.binary(max_size=150))
def test_no_file_raises_anything_but_a_space_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(data)
    with pytest.raises(SpaceError, match=r"my\.yaml"):  # random bytes never name a stage
        load_space(str(path))
