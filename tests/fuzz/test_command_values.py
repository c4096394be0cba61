"""What a user types for --set, --over, LEVELS, SEEDS and STORAGE: taken, or refused without telling a password."""

from hypothesis import given
from hypothesis import strategies as st

from spaces.load import load_space
from sweep.asked import make_design
from sweep.errors import SweepError
from sweep.options import SweepOptions
from sweep.plan import KNOBS
from sweep.storage import parse_url, shown
from tests.fuzz.bounds import fuzzed, refusing
from tests.fuzz.test_space_files import use
from tests.fuzz.values import EDGES, scalars

SECRET = "s3cr3tw0rd"
_words = st.one_of(scalars.map(str), st.sampled_from(["8", "1e-4", "0.1", "-1", "qv", "all", "true", "2:1"]))
_knobs = st.one_of(
    st.sampled_from(["lora_rank", "learning_rate", "lora_target", "effective_batch_size", "stage", "seed", *KNOBS]),
    st.text(max_size=6),
)
_given = st.one_of(
    _words,
    st.tuples(_words, _words).map("..".join),
    st.lists(_words, min_size=2, max_size=4).map(",".join),
    st.lists(_words, min_size=2, max_size=3).map("+".join),
)
assignments = st.one_of(st.tuples(_knobs, _given).map("=".join), st.text(max_size=30))


@fuzzed
@given(
    given_=st.lists(assignments, min_size=1, max_size=2), space=st.sampled_from(["sft_lora", "pt_lora", "low_memory"])
)
def test_set(given_: list[str], space: str) -> None:
    with refusing():
        use(load_space(space).override(given_, allowed=KNOBS))


@fuzzed
@given(
    over=st.one_of(st.lists(_knobs, max_size=4).map(",".join), st.text(max_size=20)),
    levels=st.one_of(st.integers(), st.sampled_from([10**9, 10**30])),
    seeds=st.one_of(st.integers(), st.sampled_from([10**9, 10**30])),
    seed=st.integers(0, 2**32),
)
def test_a_grid(over: str, levels: int, seeds: int, seed: int) -> None:
    with refusing():
        options = SweepOptions(space="sft_lora", design="factorial", over=over, levels=levels, seeds=seeds, seed=seed)
        make_design(options, load_space("sft_lora"))


@fuzzed
@given(storage=st.one_of(st.text(max_size=40), st.sampled_from([str(edge) for edge in EDGES])))
def test_storage(storage: str) -> None:
    with refusing():
        parse_url(storage)
        shown(storage)


_parts = st.text(alphabet="ab:/@?&=%#[]+ .1", max_size=6)
# The password stands where one belongs, and signs that part a URL stand anywhere around it.
with_password = st.builds(
    "{}{}{}:{}{}{}@{}{}".format,
    st.sampled_from(["postgresql", "postgresql+psycopg", "postgres", "mysql", "mysql+pymysql", "mariadb"]),
    st.sampled_from(["://", "://", "://", ":/", "//", ":"]),
    st.text(alphabet="ab.%4", max_size=4),
    _parts,
    st.just(SECRET),
    _parts,
    st.sampled_from(["host", "host:1", "[::1]", "", "127.0.0.1:x"]),
    st.sampled_from(["/db", "", "/db?sslmode=off", "/a b"]),
)
in_options = st.builds(
    "postgresql{}://me@host/db?{}={}{}".format,
    st.sampled_from(["", "+psycopg"]),
    st.sampled_from(["password", "sslpassword", "passfile", "options", "user"]),
    st.just(SECRET),
    _parts,
)


@fuzzed
@given(storage=st.one_of(with_password, in_options))
def test_no_password_of_storage_is_ever_shown(storage: str) -> None:
    try:
        told = shown(storage)
    except SweepError as error:
        told = str(error)
    assert SECRET not in told
