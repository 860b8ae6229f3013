"""`make affected`: a change reaches the tests that import, start or read it, and spares the others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tools.affected.__main__ import git, load
from tools.affected.graph import Graph, folders
from tools.affected.uses import read

# One process parses the tree once.
pytestmark = pytest.mark.xdist_group("affected")
ROOT = Path(__file__).parents[2]

SAMPLE = {
    "pyproject.toml": "",
    "Makefile": "",
    "README.md": "",
    "NOTICE": "",
    "requirements/test.txt": "",
    "deploy/keda/cv.yaml": "",
    "deploy/keda/demand/vlm.yaml": "",
    "deploy/alerts.yaml": "",
    "deploy/job.yaml": "command: [tidegate, rules, list]",
    "docs/page.md": "",
    "tests/__init__.py": "",
    "tests/rights.json": "",
    "tests/conftest.py": "from shared import started",
    "shared/__init__.py": "",
    "shared/started.py": "",
    "shared/bus/__init__.py": "from shared.bus import pull",
    "shared/bus/pull.py": "",
    "shared/catalog.py": "RECORDS = [Service(module='services.cv'), Service(module='services.vlm')]",
    "services/__init__.py": "",
    "services/cv/__init__.py": "",
    "services/cv/__main__.py": "from services.cv import loop",
    "services/cv/loop.py": "'''`services.cv.unused` is not for us.'''\nfrom . import ring\nfrom .models import load",
    "services/cv/ring.py": "from services.cv import loop",
    "services/cv/unused.py": "",
    "services/cv/models/__init__.py": "load = lambda name: import_module(f'{__name__}.{name}')",
    "services/cv/models/ssd.py": "",
    "services/vlm/__init__.py": "",
    "services/vlm/__main__.py": "HINT = 'run python -m services.cv first, see docs/page.md'",
    "services/vlm/child.py": "",
    "tidegate/__init__.py": "",
    "tidegate/__main__.py": "from tidegate.commands import tidegate",
    "tidegate/commands/__init__.py": "get = lambda name: import_module(f'{__name__}.{name}')",
    "tidegate/commands/rules.py": "",
    "tidegate/commands/watch.py": "import shared.bus.pull",
    "tests/helper.py": "def late():\n    from shared.bus import pull",
    "tests/runs.py": "COMMAND = [executable, '-m', 'tidegate']",
}


def sample(**tests: str) -> Graph:
    """The tree above with these tests, `test_` before their names."""
    files = SAMPLE | {f"tests/test_{name}.py": source for name, source in tests.items()}
    return Graph(files, {file: read(file, source) for file, source in files.items() if file.endswith((".py", ".yaml"))})


def reach(source: str) -> set[str]:
    graph = sample(it=source)
    # Each test reaches itself, its package, and what conftest imports.
    own = {"tests/test_it.py", "tests/__init__.py", "tests/conftest.py", "shared/__init__.py", "shared/started.py"}
    reached = graph.dependencies["tests/test_it.py"].keys()
    assert own <= reached
    return reached - own


CV = {
    "services/__init__.py",
    *(f"services/cv/{name}.py" for name in ("__init__", "__main__", "loop", "ring", "models/__init__", "models/ssd")),
}
VLM = {"services/__init__.py", "services/vlm/__init__.py", "services/vlm/__main__.py"}
CHILD = {"services/__init__.py", "services/vlm/__init__.py", "services/vlm/child.py"}
BUS = {"shared/bus/__init__.py", "shared/bus/pull.py"}
RULES = {"tidegate/__init__.py", "tidegate/commands/__init__.py", "tidegate/commands/rules.py"}
WATCH = {"tidegate/__init__.py", "tidegate/commands/__init__.py", "tidegate/commands/watch.py", *BUS}
RUNS = {"tests/runs.py", "tidegate/__main__.py"}


@pytest.mark.parametrize(
    ("source", "reached"),
    [
        ("import shared.bus.pull", BUS),
        ("from shared import bus", BUS),
        ("def test():\n    from tests.helper import late", {"tests/helper.py", *BUS}),
        ("from .helper import late", {"tests/helper.py", *BUS}),
        ("from services.cv import ring", CV - {"services/cv/__main__.py"}),
        ("from services import cv", {"services/__init__.py", "services/cv/__init__.py"}),
        ("MODULE = 'services.cv'\nstart(MODULE)", CV),
        ("start('services.cv')", CV),
        ("run([executable, '-m', 'services.vlm'])", VLM),
        ("run('-c', 'from services.vlm import child, other; child.main()')", CHILD | VLM),
        ("run('-c', 'from shared import bus\\nfrom services.vlm import (child, other)')", CHILD | VLM | BUS),
        ("monkeypatch.setattr('services.vlm.child.LIMIT_S', 1)", CHILD),
        ("run(f'services.{service}')", CV | VLM),
        ("'''See `services.cv`.'''\n'docs/page.md'", set()),
        ("from shared import catalog\nname = catalog.RECORDS[0].name", {"shared/catalog.py"}),
        ("from shared import catalog\nstart(catalog.RECORDS[0].module)", {"shared/catalog.py", *CV, *VLM}),
        ("from tidegate.commands import rules", RULES),
        ("from tests.runs import COMMAND\nrun(*COMMAND, 'rules', 'set')", RUNS | RULES),
        ("from tests.runs import COMMAND\nrun('tidegate watch --json')", RUNS | WATCH),
        ("import tests.runs", RUNS | RULES | WATCH),
        ("from tests.runs import COMMAND\nJOB = open('deploy/job.yaml')", RUNS | RULES | {"deploy/job.yaml"}),
        ("from tests.runs import COMMAND\nJOBS = ROOT / 'deploy'", RUNS | RULES | {"deploy/"}),
        ("open('deploy/keda/cv.yaml')", {"deploy/keda/cv.yaml"}),
        ("open(f'deploy/keda/{name}.yaml')", {"deploy/keda/"}),
        ("text = 'kubectl apply -k deploy/keda'", {"deploy/keda/"}),
        ("namespace, agent, base = 'deploy', 'docs/', './'", set()),
        ("ROOT = Path(__file__).parent.parent\nCV = ROOT / 'deploy' / 'keda' / 'cv.yaml'", {"deploy/keda/cv.yaml"}),
        ("ROOT = Path(__file__).parents[1]\n[ROOT / 'deploy' / name for name in names]", {"deploy/"}),
        ("ROOT = Path(__file__).parent.parent\n[ROOT / name for name in names]", {"./"}),
        ("ROOT = Path(__file__).parent.parent\nshutil.copytree(ROOT, folder)", {"./"}),
        ("ROOT = Path(__file__).parent.parent\nrun('services.vlm', cwd=ROOT)", VLM),
        ("ROOT = Path(__file__).parent.parent\nenv = f'{folder}{os.pathsep}{ROOT}'", set()),
        (
            "ROOT = Path(__file__).parent.parent\n"
            "[path.relative_to(ROOT) for name in ('deploy', 'docs') for path in (ROOT / name).rglob('*')]",
            {"deploy/", "docs/"},
        ),
        ("ROOT = Path(__file__).parent.parent\n[ROOT / name for name in ('docs', given)]", {"./"}),
        ("RIGHTS = Path(__file__).with_name('rights.json')", {"tests/rights.json"}),
        ("child = Path(__file__).parent / 'helper.py'", {"tests/helper.py", *BUS}),
    ],
)
def test_a_test_depends_on_what_it_imports_starts_or_reads(source: str, reached: set[str]) -> None:
    assert reach(source) == reached


@pytest.mark.parametrize(
    ("changed", "tests", "doubt"),
    [
        ("shared/bus/pull.py", ["helps"], ""),
        ("services/cv/unused.py", [], ""),
        ("services/cv/loop.py", ["runs"], ""),
        ("deploy/keda/demand/vlm.yaml", ["reads"], ""),
        ("deploy/keda/demand/deleted.yaml", ["reads"], ""),
        ("tests/test_reads.py", ["reads"], ""),
        ("tests/conftest.py", ["helps", "reads", "runs"], ""),
        ("shared/started.py", ["helps", "reads", "runs"], ""),
        ("pyproject.toml", [], "pyproject.toml decides how every test runs"),
        ("requirements/test.txt", [], "requirements/test.txt decides how every test runs"),
        ("Makefile", [], "Makefile decides how every test runs"),
        ("NOTICE", [], "no test names NOTICE"),
    ],
)
def test_a_change_selects_tests_or_reports_a_doubt(changed: str, tests: list[str], doubt: str) -> None:
    graph = sample(helps="import tests.helper", runs="start('services.cv')", reads="DEPLOY = ROOT / 'deploy' / 'keda'")
    found = graph.affected([changed])
    assert sorted(found.tests) == [f"tests/test_{name}.py" for name in tests]
    assert found.doubts == [doubt] * bool(doubt)


def test_the_chain_leads_from_the_change_to_the_test() -> None:
    chain = sample(helps="import tests.helper").why("tests/test_helps.py", "shared/bus/pull.py")
    assert chain == ["shared/bus/pull.py", "tests/helper.py", "tests/test_helps.py"]


# ---- the command


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "tools.affected", *arguments]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(program, cwd=folder, env=env, capture_output=True, text=True, check=False)


def commit(folder: Path, subject: str) -> None:
    name = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for arguments in (["add", "--all"], [*name, "commit", "-qm", subject, "--no-verify"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The tree above and two tests, in two commits."""
    root = tmp_path / "repository"
    tests = {"tests/test_bus.py": "import shared.bus", "tests/test_docs.py": "PAGE = 'docs/page.md'"}
    for file, source in {**SAMPLE, ".gitignore": ".*_cache/\n", **tests}.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(source)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    commit(root, "first")
    (root / "docs/page.md").write_text("changed")
    commit(root, "second")
    return root


def test_it_prints_the_tests_of_the_last_commit_and_the_working_tree(repository: Path) -> None:
    done = command(repository)
    assert (done.returncode, done.stdout) == (0, "tests/test_docs.py\n")
    assert "1 of 2 test files" in done.stderr
    (repository / "tests/test_new.py").write_text("")
    (repository / "shared/bus/pull.py").unlink()
    # It works from any folder of the checkout.
    assert command(repository / "tests", "HEAD").stdout == "tests/test_bus.py\ntests/test_new.py\n"
    why = command(repository, "HEAD", "--why", "tests/test_bus.py").stdout.split()
    assert why == ["shared/bus/pull.py", "shared/bus/__init__.py", "tests/test_bus.py"]
    (repository / "NOTICE").write_text("changed")
    done = command(repository, "HEAD")
    assert len(done.stdout.split()) == 3 and "all tests: no test names NOTICE" in done.stderr


def test_it_prints_nothing_if_nothing_changed(repository: Path) -> None:
    done = command(repository, "HEAD")
    assert (done.returncode, done.stdout) == (0, "") and "0 of 2 test files" in done.stderr


def test_a_wrong_argument_is_answered_with_its_remedy(repository: Path, tmp_path: Path) -> None:
    for folder, arguments, remedy in (
        (tmp_path, [], "run it in a clone of the repository"),
        (repository, ["nowhere"], "name a branch, a tag or a commit"),
        (repository, ["HEAD", "--why", "tests/test_nothing.py"], "name one that"),
    ):
        done = command(folder, *arguments)
        assert done.returncode == 1 and remedy in done.stderr, done.stderr
    (repository / "tests/helper.py").write_text("def")
    assert "tests/helper.py:1: invalid syntax: correct this file first" in command(repository).stderr


# ---- this tree: to parse it takes 4 s of CPU


@pytest.fixture(scope="module")
def graph() -> Graph:
    assert git("rev-parse", "HEAD"), "the tests of this tree need git"
    return load(ROOT, tracked())


def tracked() -> set[str]:
    return {*git("-C", str(ROOT), "ls-files", "-z"), *git("-C", str(ROOT), "ls-files", "-zo", "--exclude-standard")}


def reached_by(graph: Graph, changed: str) -> set[str]:
    return {Path(test).stem.removeprefix("test_") for test in graph.affected([changed]).tests}


@pytest.mark.slow
def test_each_test_reaches_itself(graph: Graph) -> None:
    assert all(test in graph.affected([test]).tests for test in graph.tests)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "some", "others"),
    [
        (
            "services/scaler/external_scaler.py",
            {"scaler_service", "cost"},
            {"fmp4", "tracks", "vlm_jobs", "recording_ledger"},
        ),
        ("services/cv/detectors/hf.py", {"detectors", "detectors_torch"}, {"fmp4", "scaler_parts", "webhook"}),
        ("services/webhook/sender.py", {"webhook"}, {"embed", "fmp4", "scaler_history"}),
        ("tidegate/commands/rules.py", {"rules_command"}, {"webhook", "scaler_history", "fmp4"}),
        ("docs/versions.md", {"docs"}, {"fmp4", "scaler_service", "webhook"}),
        ("deploy/keda/cv.yaml", {"deploy", "autoscaler", "stack"}, {"fmp4", "detectors"}),
        ("tests/fuzz/corpus/rules/new", {"fuzz"}, {"rules_command"}),
        (".ci/run", {"house"}, {"fmp4"}),
    ],
)
def test_a_change_selects_its_tests_only(graph: Graph, changed: str, some: set[str], others: set[str]) -> None:
    found = reached_by(graph, changed)
    assert some <= found and not others & found and len(found) < len(graph.tests) / 2


@pytest.mark.slow
def test_a_change_of_the_bus_selects_most_tests(graph: Graph) -> None:
    assert len(reached_by(graph, "shared/bus/connection.py")) > len(graph.tests) / 2


# Each process of a test appends the files of this tree that it runs or reads. It writes immediately: services end by
# os._exit, which skips handlers of exit.
TRACER = """
import os, sys

root, record, seen = os.environ["PYTHON_TRACED_ROOT"] + "/", os.environ["PYTHON_TRACED_INTO"], set()

def hook(event, args):
    if event == "exec" and getattr(args[0], "co_name", "") == "<module>":
        path = args[0].co_filename
    elif event == "open" and isinstance(args[0], str) and not args[0].endswith((".py", ".pyc")):
        path = os.path.abspath(args[0])
    else:
        return
    if path.startswith(root) and path not in seen:
        seen.add(path)
        file = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{path[len(root):]}\\n".encode())
        os.close(file)

sys.addaudithook(hook)
"""
TRACED = (
    "cost",
    "dashboards",
    "disk",
    "terminal_escapes",
    "own_service",
    "ports",
    "rotation",
    "rules_command",
    "service_start",
    "terminal_widths",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACED)
def test_the_graph_has_all_that_a_test_runs_or_reads(graph: Graph, name: str, tmp_path: Path) -> None:
    (test,) = (file for file in graph.tests if file.endswith(f"/test_{name}.py"))
    record = tmp_path / "record"
    (tmp_path / "sitecustomize.py").write_text(TRACER)
    paths = {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        "PYTHON_TRACED_ROOT": f"{ROOT}",
        "PYTHON_TRACED_INTO": f"{record}",
    }
    chosen = ["-p", "no:cacheprovider", "--examples", "2", "-m", "not slow and not alone and not foreign and not image"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *chosen, test],
        cwd=ROOT,
        env=os.environ | paths,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    traced = tracked() & {*record.read_text().splitlines()}
    assert test in traced
    missed = set(unreached(graph, test, traced))
    # Pytest itself reads its settings: a change of them reaches every test.
    assert missed <= {"pyproject.toml"}


def unreached(graph: Graph, test: str, files: Iterable[str]) -> Iterable[str]:
    for file in files:
        if not graph.dependencies[test].keys() & {file, *(f"{folder}/" for folder in folders(file))}:
            yield file
