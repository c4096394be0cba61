"""Small files that would take a reader's whole memory or its day: refused or read in a child with little of both."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

MEMORY_BYTES = 1 << 30  # of addresses; the interpreter with what it imports takes half of it
CPU_SECONDS = 10  # each takes about one, imports included
MOST_LINES = 2

# What a child does with a file; the error's words, where it is refused.
READ_SPACE = """
import sys
from spaces.errors import SpaceError
from spaces.load import load_space
try:
    space = load_space(sys.argv[1])
    space.settings(), space.fingerprint()
except SpaceError as error:
    print(error)
"""
READ_LOG = """
import sys
from pathlib import Path
from trials.errors import TrialsError
from trials.diagnosis import diagnose
from trials.log_settings import settings_beside
from trials.logs import read_log
try:
    for curve in read_log(Path(sys.argv[1])):
        diagnose(curve, settings_beside(Path(sys.argv[1])))
except TrialsError as error:
    print(error)
"""

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{later}: &{later} [{', '.join([f'*{earlier}'] * 9)}]\n"
    for earlier, later in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k1: 1, k2: 2}\n" + "".join(
    f"m{n}: &m{n}\n  <<: [{', '.join(['*' + (f'm{n - 1}' if n else 'a')] * 9)}]\n" for n in range(9)
)
SIXTIES = "learning_rate: 1" + ":59" * 300_000  # a whole number to base 60, as YAML 1.1 reads it


def _child(program: str, file: Path) -> str:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))

    # One thread: each of a mathematical library's own would take addresses for its stack.
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "OPENBLAS_NUM_THREADS": "1", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)], capture_output=True, text=True, preexec_fn=limit, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("\n") <= MOST_LINES
    return done.stdout


SPACES = {
    "a billion laughs": (LAUGHS, "anchors and aliases"),
    "merged keys": (MERGES, "anchors and aliases"),
    "deep lists": ("stage: " + "[" * 400_000, "nested more than"),
    "deep mappings": ("a: " + "{a: " * 100_000, "nested more than"),
    "deep blocks": ("\n".join(" " * n + "a:" for n in range(1000)), "nested more than"),
    "deep sequences": ("- " * 100_000, "nested more than"),
    "a long number": ("stage: sft\nfixed: {lora_rank: " + "9" * 900_000 + "}", "not a number"),
    "a long number to base 16": ("stage: sft\nfixed: {lora_rank: 0x" + "f" * 900_000 + "}", "10^18"),
    "a number to base 60": (SIXTIES, "unknown key"),
    "a large file": ("#" * 2_000_000, "larger than"),
    "many keys": ("".join(f"k{n}: 1\n" for n in range(20_000)), "unknown key"),
    "a tower of powers": ("stage: sft\nderived: {lora_rank: 9**9**9**9}", ""),
    "powers of products": ("stage: sft\nderived: {lora_rank: " + "*".join(["(10**16)**16"] * 30) + "}", ""),
    "deep brackets": ("stage: sft\nderived: {lora_rank: '" + "(" * 240 + "1" + ")" * 240 + "'}", "not an expression"),
    "many signs": ("stage: sft\nderived: {lora_rank: '" + "-" * 490 + "1'}", "nested"),
    "wide ranges": (
        "stage: sft\nsearch:\n  lora_rank: {int: [1, 1000000000000000000]}\n  a: {int: [0, 1000000000000000000], "
        "when: lora_rank > 3}\nderived: {lora_alpha: a + lora_rank}",
        "",
    ),
    "many options": (
        "stage: sft\nsearch:\n"
        + "".join(f"  k{n}: {{choice: {list(range(3000))}, when: k0 > {n}}}\n" for n in range(1, 30))
        + "  k0: {choice: [1, 2]}\n",
        "",
    ),
    "a far path": ("extends: " + "../" * 20_000 + "x.yaml", "no such file"),
}


@pytest.mark.parametrize("name", SPACES)
def test_a_space_file(name: str, tmp_path: Path) -> None:
    text, words = SPACES[name]
    file = tmp_path / "bomb.yaml"
    file.write_text(text, encoding="utf8")
    told = _child(READ_SPACE, file)
    assert words in told
    assert len(told) < 1500


RECORD = '{"current_steps": 10, "loss": 2.0}\n'
LOGS = {
    "deep lists": ("[" * 2_000_000, "not JSON"),
    "deep records": (RECORD * 3 + '{"loss": ' + "[" * 500_000 + "\n", ""),
    "half a deep state": ('{"log_history": [' + '{"a": [' * 200_000, "cut short"),
    "long numbers": (RECORD * 3 + '{"loss": ' + "9" * 3_000_000 + "}\n", ""),
    "large exponents": (RECORD * 3 + '{"loss": 1e999999999, "current_steps": 1e300}\n', ""),
    "half lines": ('{"loss": 1' * 200_000, "not JSON"),
    "many halves of states": ('{"log_history": [' * 100_000, "cut short"),
    "far steps": (RECORD * 3 + '{"loss": 1, "current_steps": 9007199254740992}\n', ""),
    "many sets": ("{" + ", ".join(f'"eval_{n}_loss": 1' for n in range(50_000)) + ', "loss": 1}\n' + RECORD * 3, ""),
}


@pytest.mark.parametrize("name", LOGS)
def test_a_log(name: str, tmp_path: Path) -> None:
    text, words = LOGS[name]
    file = tmp_path / "trainer_log.jsonl"
    file.write_text(text, encoding="utf8")
    assert words in _child(READ_LOG, file)


@pytest.mark.parametrize(
    "text",
    [LAUGHS + "learning_rate: *i\n", MERGES, SIXTIES, "a: " + "[" * 400_000, "learning_rate: 0x" + "f" * 900_000],
    ids=["a billion laughs", "merged keys", "a number to base 60", "deep lists", "a long number to base 16"],
)
def test_settings_beside_a_log(text: str, tmp_path: Path) -> None:
    (tmp_path / "training_args.yaml").write_text(text, encoding="utf8")
    file = tmp_path / "trainer_log.jsonl"
    file.write_text(RECORD * 3, encoding="utf8")
    assert _child(READ_LOG, file) == ""
