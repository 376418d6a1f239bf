"""The shape of the distribution: what a wheel holds, which way imports run, what importing costs."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = {
    "handrail_propagation": ROOT / "propagation",
    "handrail_agents": ROOT / "agents",
    "handrail_harness": ROOT / "harness",
}
MAY_IMPORT = {
    "handrail_propagation": {"handrail_propagation"},
    "handrail_agents": {"handrail_propagation", "handrail_agents"},
    "handrail_harness": {"handrail_propagation", "handrail_agents", "handrail_harness"},
}
HEAVY = {
    "celery",
    "kombu",
    "testcontainers",
    "docker",
    "duckdb",
    "grpc",
    "numpy",
    "uvicorn",
    "starlette",
    "anthropic",
    "openai",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built the way it is published but without a fresh build environment."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = out.glob("*.whl")
    return built


def test_wheel_holds_three_packages_and_nothing_else(wheel: Path) -> None:
    """A user's site-packages gets exactly our three names: no top-level `agents` that would shadow another's."""
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == set(LAYERS)


def test_wheel_is_typed_and_complete(wheel: Path) -> None:
    """Every module of the checkout and each package's py.typed is in the wheel."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for package, folder in LAYERS.items():
        assert f"{package}/py.typed" in names
        modules = {str(path.relative_to(folder)) for path in (folder / package).rglob("*.py")}
        assert modules
        assert modules <= names


@pytest.mark.parametrize("folder", ["propagation", "agents", "harness"])
def test_source_roots_are_not_packages(folder: str) -> None:
    """No `__init__.py` sits directly in a source root, so the folder's own name can never be imported."""
    assert (ROOT / folder).is_dir()
    assert not (ROOT / folder / "__init__.py").exists()


def _imported_packages(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", LAYERS)
def test_imports_run_one_way(package: str) -> None:
    """propagation ← agents ← harness: no module imports a package of a layer above its own."""
    modules = list((LAYERS[package] / package).rglob("*.py"))
    assert modules
    for module in modules:
        ours = {name for name in _imported_packages(module) if name.startswith("handrail_")}
        assert ours <= MAY_IMPORT[package], f"{module.relative_to(ROOT)} imports {ours - MAY_IMPORT[package]}"


@pytest.mark.parametrize("package", LAYERS)
def test_public_names_are_the_written_list(package: str) -> None:
    """`__all__` is a promise: a name is added or removed together with tests/unit/public_names.json."""
    written = json.loads((ROOT / "tests/unit/public_names.json").read_text(encoding="utf-8"))[package]
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(written)
    assert all(hasattr(module, name) for name in written)


@pytest.mark.parametrize("module", ["handrail_harness.plugin", "handrail_harness"])
def test_importing_the_plugin_is_cheap(module: str) -> None:
    """pytest imports the plugin in every project that has it installed: nothing heavy may come along."""
    code = f"import sys, json, {module}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(json.loads(run.stdout))
    assert module.split(".")[0] in loaded
    assert not loaded & HEAVY


def test_importing_agents_leaves_the_model_sdks_alone() -> None:
    """A worker with a scripted model, or of the other provider, does not pay for an SDK that it does not use."""
    code = "import sys, handrail_agents; print(sorted({'anthropic', 'openai', 'rich'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"


def test_production_install_stays_light() -> None:
    """What only a tester or responder needs is in an extra, not in the dependencies of every worker."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {dependency.split("[")[0].split(">")[0].split("=")[0] for dependency in project["dependencies"]}
    assert "celery" in names
    assert not names & {
        "testcontainers",
        "duckdb",
        "typer",
        "rich",
        "starlette",
        "uvicorn",
        "numpy",
        "anthropic",
        "openai",
    }


def test_every_dependency_is_explained() -> None:
    """Each dependency has its line in docs/dependencies.md: what for, why this one, what was rejected."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    explained = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    wanted = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        wanted += extra
    names = {dependency.split("[")[0].split(">")[0].split("=")[0] for dependency in wanted} - {"handrail"}
    assert names
    missing = sorted(name for name in names if f"`{name}`" not in explained)
    assert not missing
