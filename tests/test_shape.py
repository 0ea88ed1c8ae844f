"""Shape is a budget: one noun, one file; small functions. Measured over the whole package."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median, quantiles

PACKAGE = Path(__file__).resolve().parents[1] / "langchain_promptopt"
FILES = sorted(PACKAGE.rglob("*.py"))
FACADES = {"optimize"}
"""Functions whose parameters are the words users type."""


FAMILIES = {"strategies", "cli", "_files", "testing"}
"""Packages whose files are options of an axis, verbs, formats, or public helpers for tests."""


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    """All nodes of a file; it is parsed once for all tests."""
    return list(ast.walk(ast.parse(path.read_text("utf-8"))))


def imports_of(path: Path) -> set[str]:
    """Modules of the package that a file imports anywhere: at the top, inside functions, for type checkers."""
    found = set()
    for node in nodes_of(path):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE.name):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
    return found - {module_of(path)}


IMPORTS = {module: imports_of(path) for module, path in MODULES.items()}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other; found by taking away what nothing left can come back to."""
    left = {m: {t for t in targets if t in graph} for m, targets in graph.items()}
    while True:
        used = {t for targets in left.values() for t in targets}
        ends = {m for m, targets in left.items() if not targets or m not in used}
        if not ends:
            break
        left = {m: targets - ends for m, targets in left.items() if m not in ends}
        if not left:
            return []
    return [[f"{m} -> {', '.join(sorted(t))}" for m, t in sorted(left.items())]]


@dataclass(frozen=True)
class Function:
    """One function: where it stands and what it measures."""

    place: str
    name: str
    lines: int
    parameters: int


def code_lines(node: ast.AST, text: list[str]) -> int:
    """Lines of code from `def` to the end: no docstring, no blank lines, no comments."""
    first = node.body[0]
    said = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    skipped = range(first.lineno, first.end_lineno + 1) if said else ()
    numbers = (i for i in range(node.lineno, node.end_lineno + 1) if i not in skipped)
    return sum(bool(line) and not line.startswith("#") for i in numbers if (line := text[i - 1].strip()) is not None)


def functions() -> list[Function]:
    out = []
    for path in FILES:
        text = path.read_text("utf-8").split("\n")
        for node in nodes_of(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                own = [a for a in given if a.arg not in {"self", "cls"}]
                place = f"{path.relative_to(PACKAGE)}:{node.lineno}"
                out.append(Function(place, node.name, code_lines(node, text), len(own)))
    return out


ALL = functions()


def test_there_is_something_to_measure():
    assert len(FILES) > 100
    assert len(ALL) > 500


def lines_of(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_no_file_is_long():
    assert [named(p) for p in FILES if lines_of(p) > 800] == []


def test_the_usual_file_holds_a_whole_noun():
    assert median(lines_of(p) for p in FILES if p.name != "__init__.py") > 200


def test_the_package_stays_small_in_files():
    # 185, and the rooms of issue 22: a project's runs, their harvest, its verbs, agreement with people, the loop.
    # And two for tools and schemas: the forms in which they are sent, and their descriptions as prompts.
    # And one for batches of requests. And one for lists of assertions, which promptfoo's users bring along.
    # And one for what `check` draws, which reads the classes of the rooms above the reports.
    # And one for several task models, whose scores count as one.
    # And one for what each step of an app said, by the prompt that its model was sent.
    # And one for candidates as reports show them, with what each edit and each prompt adds.
    # And one for demonstrations, which are looked for after the search.
    assert len(FILES) <= 200


def test_a_file_name_stands_once():
    """Apart from the one that every package has."""
    names = Counter(p.name for p in FILES if p.name != "__init__.py")
    assert {name: n for name, n in names.items() if n > 1} == {}


def class_names(path: Path) -> list[str]:
    """Names of a file's classes, those inside functions too, and of its type aliases."""
    found = []
    for node in nodes_of(path):
        if isinstance(node, ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
            found.append(ast.unparse(node.target))
    return found


def test_a_class_name_stands_once():
    """Private ones and type aliases count: one word, one meaning."""
    places = defaultdict(list)
    for path in FILES:
        for name in class_names(path):
            places[name].append(named(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


VERBS = {"check", "compare", "harvest", "optimize", "prompts", "push", "run"}
"""Verbs of the command line are called as the functions that they call; `run` begins a command line, and a test."""


def test_a_public_function_name_stands_once():
    """Top-level functions; a reader who searches for one finds one."""
    places = defaultdict(list)
    for path in FILES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
                places[node.name].append(named(path))
    assert {name: where for name, where in places.items() if len(where) > 1 and name not in VERBS} == {}


def test_what_answers_a_question_is_there():
    """Each file, class and function that docs/architecture.md names as an answer."""
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text("utf-8")
    answers = re.search(r"^\| question \| file \|\n(.*?)\n\n", page, re.M | re.S).group(1)
    places = "\n".join(f"/{named(path)}" for path in FILES)
    code = "\n".join(path.read_text("utf-8") for path in FILES)
    missing = []
    for name in re.findall(r"`([\w./]+)`", answers):
        last = re.escape(name.rpartition(".")[2])
        is_file, is_folder = name.endswith(".py"), name.endswith("/")
        pattern = rf"/{re.escape(name)}$" if is_file else rf"(?:def |class |^ *){last}\b"
        if not is_folder and not re.search(pattern, places if is_file else code, re.M):
            missing.append(name)
    assert missing == []


def test_no_fragment_has_a_single_importer():
    """A short file that one other file needs belongs into that file, unless it is an option, a verb or a format."""
    users = defaultdict(set)
    for module, targets in IMPORTS.items():
        for target in targets:
            users[target].add(module)
    fragments = {
        named(path): sorted(users[module])
        for module, path in MODULES.items()
        if lines_of(path) < 60 and path.name != "__init__.py" and len(users[module]) == 1
        if path.relative_to(PACKAGE).parts[0] not in FAMILIES
    }
    assert fragments == {}


def test_no_import_circle():
    """Imports inside functions and for type checkers count."""
    assert circles(IMPORTS) == []


def test_there_are_comments_where_decisions_are_made():
    """At least one comment a hundred lines in the packages that decide."""
    for room in ("_engine", "optimizer", "_runtime"):
        text = [line for p in FILES if p.parent.name == room for line in p.read_text("utf-8").splitlines()]
        comments = sum(" # " in f" {line.strip()}" or line.strip().startswith("#") for line in text)
        assert comments >= len(text) // 100, (room, comments, len(text))


def test_no_function_is_long():
    assert [f for f in ALL if f.lines > 50 and f.name not in FACADES] == []


def test_most_functions_are_small():
    sizes = [f.lines for f in ALL]
    assert median(sizes) <= 6
    assert quantiles(sizes, n=10)[-1] <= 25


COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def comprehensions_of(statement: ast.stmt) -> list[ast.expr]:
    """The comprehensions of a simple statement, or of the head of a compound one."""
    found, todo = [], list(ast.iter_child_nodes(statement))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.stmt):
            continue
        if isinstance(node, COMPREHENSIONS):
            found.append(node)
        todo += ast.iter_child_nodes(node)
    return found


def crowded(statement: ast.stmt) -> list[str]:
    """What in a statement's comprehensions a reader has to untangle."""
    found = comprehensions_of(statement)
    why = ["several comprehensions"] if len(found) > 1 else []
    for one in found:
        if len(one.generators) > 1:
            why.append("a second for")
        if one.end_lineno > one.lineno:
            why.append("several lines")
        if any(isinstance(node, ast.NamedExpr) for node in ast.walk(one)):
            why.append(":=")
    return why


def test_an_expression_is_one_idea():
    """One comprehension a statement, on one line, with one `for` and no `:=`; loops and names say the rest."""
    found = {}
    for path in FILES:
        for node in nodes_of(path):
            if isinstance(node, ast.stmt) and crowded(node):
                found[f"{named(path)}:{node.lineno}"] = crowded(node)
    assert found == {}


def test_comprehensions_do_not_grow():
    """For 1,000 statements: 17 to 32 in optuna, httpx and pydantic_evals. A step with a name, or a function of
    `_collections.py`, is plainer than one more of them."""
    nodes = [node for path in FILES for node in nodes_of(path)]
    found = sum(isinstance(node, COMPREHENSIONS) for node in nodes)
    assert 1000 * found <= 42 * sum(isinstance(node, ast.stmt) for node in nodes)


def test_functions_take_few_parameters():
    wide = [f for f in ALL if f.parameters > 6 and f.name not in FACADES | {"__init__"}]
    assert len(wide) <= len(ALL) // 100, wide
    assert max(f.parameters for f in ALL if f.name not in FACADES) <= 10


def test_no_import_of_the_package_root_from_inside():
    for path in FILES:
        for node in nodes_of(path):
            if isinstance(node, ast.Import):
                assert "langchain_promptopt" not in {a.name for a in node.names}, path
            if isinstance(node, ast.ImportFrom):
                assert node.module != "langchain_promptopt", path
                assert node.level == 0, path


def test_exceptions_are_caught_by_name():
    """Style H8: `except Exception` stands only where code of the user is called, and says so."""
    broad = []
    for path in FILES:
        text = path.read_text("utf-8").splitlines()
        for node in nodes_of(path):
            if isinstance(node, ast.ExceptHandler):
                names = (
                    {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else {"BaseException"}
                )
                raised = any(isinstance(n, ast.Raise) and n.exc is None for n in ast.walk(node))
                if names & {"Exception", "BaseException"} and not raised and "BLE001" not in text[node.lineno - 1]:
                    broad.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert broad == []


def test_nothing_is_left_for_later():
    for path in FILES:
        text = path.read_text("utf-8")
        to_override = path.parent.name == "testing"  # fixtures of conformance classes
        for mark in ("TO" + "DO", "FIX" + "ME", *(() if to_override else ("raise NotImplemented",))):
            assert mark not in text, f"{mark} in {path.relative_to(PACKAGE)}"


def test_the_library_never_prints():
    for path in FILES:
        if path.relative_to(PACKAGE).parts[0] in {"cli", "__main__.py"}:
            continue
        for node in nodes_of(path):
            called = node.func if isinstance(node, ast.Call) else None
            assert not (isinstance(called, ast.Name) and called.id == "print"), f"{path}:{node.lineno}"


def test_inheritance_is_flat():
    """Our classes inherit at most once from ours, errors excepted (style H20)."""
    bases: dict[str, set[str]] = {}
    for path in FILES:
        for node in nodes_of(path):
            if isinstance(node, ast.ClassDef) and path.name not in {"errors.py"}:
                named = {b.value if isinstance(b, ast.Subscript) else b for b in node.bases}
                bases[node.name] = {b.id for b in named if isinstance(b, ast.Name)}
    deep = {
        name: sorted(grand)
        for name, parents in bases.items()
        if (grand := {g for p in parents & bases.keys() for g in bases[p] & bases.keys()})
        and not name.endswith(("Error", "Tests"))
        and not grand & {"Protocol", "Event"}  # kinds of journal events share their fields
    }
    assert len(deep) <= 3, deep


def test_a_docstring_names_each_argument_once():
    double = []
    for path in FILES:
        for node in nodes_of(path):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            told = (ast.get_docstring(node) or "").partition("Args:\n")[2].partition("\n\n")[0]
            counts = Counter(re.findall(r"^    (\*{0,2}\w+):", told, re.M))
            double += [f"{named(path)}: {node.name}: {name}" for name, n in counts.items() if n > 1]
    assert double == []
