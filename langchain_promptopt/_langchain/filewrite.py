"""Writing a winner into the file a prompt came from, and the patch that would do the same."""

from __future__ import annotations

import os
import re
import tempfile
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_promptopt._langchain.jsonfile import rewrite_json
from langchain_promptopt._langchain.pyfile import rewrite_python
from langchain_promptopt._langchain.yamlfile import rewrite_yaml
from langchain_promptopt.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_promptopt.types import Prompt

_BOM = "\ufeff"


def write_to_file(path: str | Path, old: Prompt, new: Prompt) -> None:
    """Replace the texts of `old` by those of `new` in a file; everything else in it stays.

    `.json`, `.yaml`, `.yml` and `.py` are searched for values that mean the old text; any other
    file for the text itself. The file is replaced in one step, so a crash leaves the old one.

    Raises:
        PromptError: A text is not found exactly once, or the file is not what its name says.
    """
    path = Path(path)
    after = rewritten(path, old, new)
    replace_file(path, after.encode("utf-8", "surrogatepass"))


def patch_for_file(path: str | Path, old: Prompt, new: Prompt, *, root: str | Path | None = None) -> str:
    """A unified diff that `git apply` accepts, doing what `write_to_file` would; "" for no change.

    Args:
        path: A prompt file, or Python source with the prompt as a string literal.
        old: The prompt as it stands in the file.
        new: The prompt it shall become.
        root: Folder the patch is applied in; the git work tree around the file unless given.

    Raises:
        PromptError: As `write_to_file`.
    """
    path = Path(path)
    before, after = read_text(path), rewritten(path, old, new)
    if before == after:
        return ""
    name = os.path.relpath(path.resolve(), Path(root).resolve() if root else _work_tree(path))
    name = name.replace(os.sep, "/")
    lines = unified_diff(_lines(before), _lines(after), _header(f"a/{name}"), _header(f"b/{name}"))
    body = "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
    return f"diff --git {_quoted(f'a/{name}')} {_quoted(f'b/{name}')}\n{body}"


def rewritten(path: Path, old: Prompt, new: Prompt) -> str:
    """The file's text with the texts of `old` being those of `new`. Raises PromptError as `write_to_file`."""
    if [m.role for m in old.messages] != [m.role for m in new.messages]:
        msg = "the two prompts have different messages"
        raise PromptError(msg, where=str(path))
    text = read_text(path)
    mark = _BOM if text.startswith(_BOM) else ""
    text = text[len(mark) :]
    rewrite = _REWRITERS.get(path.suffix.lower(), _rewrite_text)
    for was, now in zip(old.messages, new.messages, strict=True):
        if was.template != now.template:
            text = rewrite(text, was.template, now.template, str(path))
    return mark + text


def _rewrite_text(source: str, old: str, new: str, where: str) -> str:
    """The file with the one stretch that is `old` being `new`, in the file's line endings."""
    if "\r\n" in source and "\r\n" not in old:
        old, new = (re.sub(r"\r?\n", "\r\n", text) for text in (old, new))
    found = [m.start() for m in re.finditer(f"(?={re.escape(old)})", source)] if old else []
    if len(found) != 1:
        msg = f"the prompt's text stands {len(found) or 'nowhere'} {'times ' if found else ''}in the file"
        raise PromptError(msg, where=where, mend="It must stand there exactly once, as it was when the run began.")
    return source[: found[0]] + new + source[found[0] + len(old) :]


_REWRITERS: dict[str, Callable[[str, str, str, str], str]] = {
    ".json": rewrite_json,
    ".yaml": rewrite_yaml,
    ".yml": rewrite_yaml,
    ".py": rewrite_python,
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


def _work_tree(path: Path) -> Path:
    folder = path.resolve().parent
    return next((f for f in (folder, *folder.parents) if (f / ".git").exists()), Path.cwd())


def _header(name: str) -> str:
    quoted = _quoted(name)
    # git ends a name that holds a space with a tab, so that it knows where the name stops.
    return f"{quoted}\t" if " " in name and quoted == name else quoted


def _quoted(name: str) -> str:
    if not re.search(r'["\\\x00-\x1f\x7f]', name):
        return name
    body = "".join(
        f"\\{c}" if c in '"\\' else f"\\{ord(c):03o}" if ord(c) < 32 or ord(c) == 127 else c  # control characters
        for c in name
    )
    return f'"{body}"'
