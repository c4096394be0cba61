from collections.abc import Iterator
from hashlib import sha256

import hypothesis
import pytest

from tests.browser import chromium
from tests.postgres import Postgres, bin_folder

# A limit in time would fail on a machine that is busy with something else.
hypothesis.settings.register_profile("lora-sweep", deadline=None)
hypothesis.settings.load_profile("lora-sweep")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what needs a PostgreSQL or a browser where none is installed."""
    if bin_folder() is None:
        for item in items:
            if item.get_closest_marker("postgres"):
                item.add_marker(pytest.mark.skip(reason="no initdb here: apt-get install postgresql"))
    if chromium() is None:
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.skip(reason="no chromium here: apt-get install chromium"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL that runs."""
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def postgres_url(postgres: Postgres, request: pytest.FixtureRequest) -> str:
    """An empty database's address, password included."""
    return postgres.new_database(f"test-{sha256(request.node.nodeid.encode()).hexdigest()[:16]}")
