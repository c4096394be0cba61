"""Makes tars as somebody else could."""

import io
import json
import tarfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from sweep.bundles.layout import MANIFEST


def contents_of(bundle: Path) -> dict[str, bytes]:
    """A bundle's files, the manifest first."""
    found = {}
    with tarfile.open(bundle) as tar:
        for info in tar:
            file = tar.extractfile(info)
            assert file is not None
            found[info.name] = file.read()
    return found


def tar_of(parts: Mapping[str, bytes], to: Path) -> Path:
    """A tar of these files, whatever they are."""
    with tarfile.open(to, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return to


def sealed(parts: Mapping[str, bytes], to: Path) -> Path:
    """A bundle whose manifest has been made to agree with its files, as one who means it would."""
    manifest = json.loads(parts[MANIFEST])
    manifest["files"] = {
        name: {"size": len(content), "sha256": sha256(content).hexdigest()}
        for name, content in parts.items()
        if name != MANIFEST
    }
    return tar_of({**parts, MANIFEST: json.dumps(manifest).encode()}, to)
