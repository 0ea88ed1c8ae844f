"""Writing a winner into the file a prompt came from, and the patch that would do the same.

Only the prompt's own text changes: JSON and YAML values keep their spelling, key order, comments and
indentation, Python literals their quotes (`_files.python`). Where the file of a prompt is not known, it
is found by the prompt's text: in the module that the configuration names, else in the one file that holds it.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_promptopt._collections import all_are
from langchain_promptopt._files.python import rewrite_python
from langchain_promptopt._files.yaml import part_range, respell, rewrite_yaml
from langchain_promptopt.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_promptopt.types import Prompt

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_KEY = re.compile(r"\s*:")
_PIECE = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|.", re.DOTALL)
_LIST = re.compile(r'\[\s*"(?:[^"\\]|\\.)*"\s*(?:,\s*"(?:[^"\\]|\\.)*"\s*)*\]', re.DOTALL)


@dataclass(frozen=True)
class Value:
    """A text in the file: a string, or a list of strings that are its lines."""

    start: int
    end: int
    text: str


def rewrite_json(source: str, old: str, new: str, where: str, part: str = "") -> str:
    """The file with the one value that is `old` being `new`; key order, indent and spelling stay.

    Args:
        source: The file's text.
        old: The template as it stands there.
        new: The template it shall become.
        where: The file, for errors.
        part: Name of the prompt in the file, where it holds several.

    Raises:
        PromptError: It is no JSON, or no value or several are the prompt.
    """
    try:
        json.loads(source)
    except ValueError as error:
        msg = f"the file is no JSON: {error}"
        raise PromptError(msg, where=where) from error
    start, end = part_range(source, part, where)
    found = []
    for v in _values(source):
        if v.text == old and start <= v.start and v.end <= end:
            found.append(v)
    if len(found) != 1:
        msg = f"{len(found) or 'no'} values in the file are the prompt"
        raise PromptError(msg, where=where, mend="It must be there exactly once, as a string or a list of lines.")
    value = found[0]
    token = source[value.start : value.end]
    made = _list(token, new) if token.startswith("[") else _string(token, old, new, ascii_only=_ascii_only(source))
    if _meaning(made) != new:
        msg = "the new text cannot be written in the file's style"
        raise PromptError(msg, where=where, mend="Change it by hand.")
    return source[: value.start] + made + source[value.end :]


def _values(source: str) -> Iterator[Value]:
    """All strings that are no keys, and all lists of two strings and more."""
    at = 0
    while match := _STRING.search(source, at):
        at = match.end()
        if _KEY.match(source, at):
            continue
        yield Value(*match.span(), json.loads(match[0]))
        lines = _LIST.match(source, _open_bracket(source, match.start()))
        joined = _meaning(lines[0]) if lines else None
        if lines and joined is not None and "," in source[at : lines.end()]:
            yield Value(*lines.span(), joined)


def _open_bracket(source: str, at: int) -> int:
    """Where a list opens whose first element stands at `at`; `at` itself, which is none, otherwise."""
    before = len(source[:at].rstrip())
    return before - 1 if before and source[before - 1] == "[" else at


def _meaning(token: str) -> str | None:
    value: Any = json.loads(token)
    if isinstance(value, list):
        return "".join(value) if all_are(value, str) else None
    return value if isinstance(value, str) else None


def _ascii_only(source: str) -> bool:
    """Whether the file spells non-ASCII characters as escapes."""
    return source.isascii() and re.search(r"\\u00[89a-fA-F]|\\u0[1-9a-fA-F]|\\u[1-9a-fA-F]", source) is not None


def _string(token: str, old: str, new: str, *, ascii_only: bool) -> str:
    pieces = _PIECE.findall(token[1:-1])
    if not old or [json.loads(f'"{p}"') for p in pieces] != list(old):
        return json.dumps(new, ensure_ascii=ascii_only)
    made = respell(pieces, old, new, lambda text, _: json.dumps(text, ensure_ascii=ascii_only)[1:-1])
    return f'"{"".join(made)}"'


def _list(token: str, new: str) -> str:
    """Lines in the layout of the list that was there."""
    lead = re.match(r"\[(\s*)", token)
    tail = re.search(r"(\s*)\]$", token)
    between = re.search(r",(\s*)\"", token)
    first, last = (lead[1] if lead else ""), (tail[1] if tail else "")
    gap = between[1] if between else (first or " ")
    lines = [json.dumps(line, ensure_ascii=token.isascii()) for line in new.splitlines(keepends=True)] or ['""']
    return "[" + first + ("," + gap).join(lines) + last + "]"


MAX_FILES = 5_000
MAX_BYTES = 1_000_000
_RECORD = "journal.jsonl"
"""What every folder of a run holds."""
SUFFIXES = frozenset(
    {".py", ".txt", ".md", ".prompt", ".yaml", ".yml", ".json", ".jinja", ".jinja2", ".j2", ".mustache"}
)
"""Endings of files that hold prompts."""
_NOT_OURS = frozenset({"__pycache__", "build", "dist", "node_modules", "site-packages"})
_WORD = re.compile(r"[A-Za-z]{4,}")
_TELLING = 5
"""Words of the prompt, the longest ones, of which a file must hold one to be looked at closely."""


def find_source(old: Prompt, new: Prompt, root: Path, module: str = "") -> Path | None:
    """The one file under `root` in which `old` can become `new`; None where there is none.

    Args:
        old: The prompt as it stands in the project.
        new: What it shall become; only messages that differ are looked for.
        root: Folder of the project. Hidden folders, environments and build folders are left out.
        module: Module that holds the chain, as `my_app.chain`.

    Raises:
        PromptError: Several files hold it, or the chain's module builds it in a way that cannot be edited.
    """
    own = module_file(root, module)
    if own is not None:
        try:
            rewritten(own, old, new)
        except PromptError as error:
            if error.facts.get("seen"):  # it stands there, in a form that cannot be edited
                raise
        else:
            return own
    found = []
    for path in _candidates(old, new, root):
        if path != own and holds(path, old, new):
            found.append(path)
    if len(found) > 1:
        listed = ", ".join(os.path.relpath(p, root) for p in found[:5])
        msg = f"{len(found)} files hold the text of prompt {old.name!r}: {listed}"
        raise PromptError(msg, where=str(root), mend="Name the one: --to FILE for apply, --file FILE for diff --patch.")
    return found[0] if found else None


def module_file(root: Path, module: str) -> Path | None:
    """The source of a module under `root`, without importing anything."""
    if not module:
        return None
    place = root.joinpath(*module.split("."))
    return next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()), None)


def _candidates(old: Prompt, new: Prompt, root: Path) -> list[Path]:
    words: set[str] = set()
    for was, now in zip(old.texts, new.texts, strict=True):
        if was != now:
            words.update(_WORD.findall(was))
    telling = sorted(words, key=lambda w: (-len(w), w))[:_TELLING]
    return [path for path in _project_files(root) if _mentions(path, telling)]


def _project_files(root: Path) -> Iterator[Path]:
    seen = 0
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        if _RECORD in names:  # of a run, and no source of a prompt
            folders.clear()
            continue
        ours = []
        for f in sorted(folders):
            if not f.startswith(".") and f not in _NOT_OURS:
                ours.append(f)
        folders[:] = [f for f in ours if not (here / f / "pyvenv.cfg").exists()]
        for name in sorted(names):
            if Path(name).suffix.lower() in SUFFIXES and seen < MAX_FILES:
                seen += 1
                yield here / name


def _mentions(path: Path, words: list[str]) -> bool:
    try:
        if path.stat().st_size > MAX_BYTES:
            return False
        data = path.read_bytes()
    except OSError:
        return False
    return not words or any(word.encode() in data for word in words)


def holds(path: Path, old: Prompt, new: Prompt, part: str = "") -> bool:
    """Whether a file holds `old` so that it can become `new`.

    Args:
        path: The file.
        old: The prompt as it is in the file.
        new: The prompt it shall become.
        part: Name of the prompt in the file, where it holds several.
    """
    try:
        rewritten(path, old, new, part)
    except PromptError:
        return False
    return True


_BOM = "\ufeff"


def write_to_file(path: str | Path, old: Prompt, new: Prompt, part: str = "") -> None:
    """Replace the texts of `old` by those of `new` in a file; everything else in it stays.

    `.json`, `.yaml`, `.yml` and `.py` are searched for values that mean the old text; any other
    file for the text itself. The file is replaced in one step, so a crash leaves the old one.

    Args:
        path: The file.
        old: The prompt as it stands in the file.
        new: The prompt it shall become.
        part: Name of the prompt in the file, where it holds several.

    Raises:
        PromptError: A text is not found exactly once, or the file is not what its name says.
    """
    path = Path(path)
    after = rewritten(path, old, new, part)
    replace_file(path, after.encode("utf-8", "surrogatepass"))


def patch_for_file(
    path: str | Path, old: Prompt, new: Prompt, *, part: str = "", root: str | Path | None = None
) -> str:
    """A unified diff that `git apply` accepts, doing what `write_to_file` would; "" for no change.

    Args:
        path: A prompt file, or Python source with the prompt as a string literal.
        old: The prompt as it stands in the file.
        new: The prompt it shall become.
        part: Name of the prompt in the file, where it holds several.
        root: Folder the patch is applied in; the git work tree around the file unless given.

    Raises:
        PromptError: As `write_to_file`.
    """
    path = Path(path)
    before, after = read_text(path), rewritten(path, old, new, part)
    if before == after:
        return ""
    name = os.path.relpath(path.resolve(), Path(root).resolve() if root else work_tree(path.resolve().parent))
    name = name.replace(os.sep, "/")
    lines = unified_diff(_lines(before), _lines(after), _header(f"a/{name}"), _header(f"b/{name}"))
    body = "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
    return f"diff --git {_quoted(f'a/{name}')} {_quoted(f'b/{name}')}\n{body}"


def rewritten(path: Path, old: Prompt, new: Prompt, part: str = "") -> str:
    """A file's text with the texts of `old` replaced by those of `new`.

    Args:
        path: The file, which is only read.
        old: The prompt as it is in the file.
        new: The prompt it shall become.
        part: Name of the prompt in the file, where it holds several.

    Raises:
        PromptError: A text is not found exactly once, or the file is not what its name says.
    """
    if old.roles != new.roles:
        msg = "the two prompts have different messages"
        raise PromptError(msg, where=str(path))
    text = read_text(path)
    mark = _BOM if text.startswith(_BOM) else ""
    text = text[len(mark) :]
    rewrite = _REWRITERS.get(path.suffix.lower(), _rewrite_text)
    for was, now in zip(old.messages, new.messages, strict=True):
        if was.template != now.template:
            text = rewrite(text, was.template, now.template, str(path), old.name if path.suffix == ".py" else part)
    return mark + text


def _rewrite_text(source: str, old: str, new: str, where: str, part: str) -> str:  # noqa: ARG001 - one text a file
    """The file with the one stretch that is `old` being `new`, in the file's line endings."""
    if "\r\n" in source and "\r\n" not in old:
        old, new = (re.sub(r"\r?\n", "\r\n", text) for text in (old, new))
    found = [m.start() for m in re.finditer(f"(?={re.escape(old)})", source)] if old else []
    if len(found) != 1:
        msg = f"the file holds the prompt's text {len(found)} times"
        raise PromptError(msg, where=where, mend="It must be there exactly once, as it was when the run began.")
    return source[: found[0]] + new + source[found[0] + len(old) :]


def _rewrite_python(source: str, old: str, new: str, where: str, name: str) -> str:
    return rewrite_python(source, old, new, where, name)


_REWRITERS: dict[str, Callable[[str, str, str, str, str], str]] = {
    ".json": rewrite_json,
    ".yaml": rewrite_yaml,
    ".yml": rewrite_yaml,
    ".py": _rewrite_python,
}


def read_text(path: Path) -> str:
    """A UTF-8 file with its own line endings. Raises PromptError naming it."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        msg = f"the file is not UTF-8: {error.reason} at byte {error.start}"
        raise PromptError(msg, where=str(path)) from error
    except OSError as error:
        msg = f"the file cannot be read: {error.strerror}"
        raise PromptError(msg, where=str(path)) from error


def replace_file(path: Path, data: bytes) -> None:
    """Write a file in one step, keeping its permissions and following a link to its target."""
    real = path.resolve()
    handle, temporary = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mode = real.stat().st_mode & 0o7777 if real.exists() else 0o666 & ~_umask()
        Path(temporary).chmod(mode)
        Path(temporary).replace(real)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _lines(text: str) -> list[str]:
    """Lines as git counts them: only a line feed ends one."""
    return re.findall(r"[^\n]*\n|[^\n]+$", text)


def work_tree(folder: Path) -> Path:
    """The git work tree around a folder; the working directory where there is none."""
    folder = folder.resolve()
    return next((f for f in (folder, *folder.parents) if (f / ".git").exists()), Path.cwd())


def _header(name: str) -> str:
    quoted = _quoted(name)
    # git ends a name that holds a space with a tab, so that it knows where the name stops.
    return f"{quoted}\t" if " " in name and quoted == name else quoted


def _quoted(name: str) -> str:
    if not re.search(r'["\\\x00-\x1f\x7f]', name):
        return name
    body = "".join(map(_escaped, name))
    return f'"{body}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    is_control = ord(character) < 32 or ord(character) == 127
    return f"\\{ord(character):03o}" if is_control else character
