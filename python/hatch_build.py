"""Makes the messages and stubs from the protocol definitions, whenever the package is built or installed.

Hatchling calls it: for a wheel and for an editable install the stubs are written to `src/gangline/v1`; a source
distribution gets the definitions instead, so that a wheel can be made from it anywhere. Nothing that is generated is
kept in the repository.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

GENERATED = "*_pb2*.py*"


class StubsHook(BuildHookInterface):  # type: ignore[type-arg, misc, unused-ignore]
    """Generates before the files of a build are collected."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generates for a wheel, installed or editable; brings the definitions into a source distribution."""
        del version
        root = Path(self.root)
        definitions = find_definitions(root)
        if self.target_name == "sdist":
            build_data["force_include"][str(definitions / "gangline")] = "proto/gangline"
        else:
            package = root / "src" / "gangline" / "v1"
            generate(definitions, package)
            # They are named in .gitignore, whose files hatchling leaves out.
            build_data["artifacts"].append(f"/src/gangline/v1/{GENERATED}")


def find_definitions(root: Path) -> Path:
    """The folder that holds `gangline/v1/*.proto`: inside a source distribution, else beside `python/`."""
    for folder in (root / "proto", root.parent / "proto"):
        if (folder / "gangline" / "v1").is_dir():
            return folder
    raise FileNotFoundError(f"no proto/gangline/v1 in {root} nor beside it: build from a checkout or a source distribution")


def generate(definitions: Path, package: Path) -> None:
    """Writes messages, their types and the stubs into `package`; what an earlier build left there goes first."""
    from grpc_tools import protoc

    for old in package.glob(GENERATED):
        old.unlink()
    files = sorted(str(path.relative_to(definitions)) for path in (definitions / "gangline").rglob("*.proto"))
    source = package.parent.parent
    arguments = [
        "protoc",
        f"-I{definitions}",
        f"-I{resources.files('grpc_tools') / '_proto'}",
        f"--python_out={source}",
        f"--pyi_out={source}",
        f"--grpc_python_out={source}",
    ]
    if protoc.main([*arguments, *files]) != 0:
        raise RuntimeError(f"protoc could not compile {definitions}: its message is above")
