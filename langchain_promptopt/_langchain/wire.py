"""What goes out to models, changed for one evaluation where a candidate has another text for it.

While a run is open, the public calls of LangChain's chat models and of the openai client pass the texts of their
messages through `overlaid_text` before they send. It follows the overlay of the context, as templates do: other users
of the same process are not touched, and candidates under evaluation never mix.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import PromptValue

from langchain_promptopt._langchain.descriptions import overlaid_call
from langchain_promptopt._langchain.held import HeldText
from langchain_promptopt._langchain.overlay import active, current, installed, note_made
from langchain_promptopt.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

Pass: TypeAlias = Callable[[str], str]
"""From a text that is about to be sent to the text to send."""
ChangeTools: TypeAlias = Callable[[Any, dict[str, Any]], dict[str, Any]]
"""From what is asked and the keyword arguments of a call, tools and schemas among them, to those to call with."""
Around: TypeAlias = Callable[..., Any]
"""A function in front of a method: it gets the method, then what the method is called with, `self` first."""
Fronted: TypeAlias = "tuple[Any, str, Around]"
"""A class, the name of its method, and the function in front of that."""
Later: TypeAlias = "tuple[str, Callable[[Any], Iterable[Fronted]]]"
"""The name of a module that may not be imported yet, and from the module to what is fronted in it."""
CallArguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
ChangeCall: TypeAlias = Callable[[Pass, tuple[Any, ...], dict[str, Any]], CallArguments]

_CHANGING = threading.RLock()
"""Nothing is imported under it: an import waits for others, which may wait for this lock."""
_TAPS: list[tuple[Pass, list[Callable[[], None]]]] = []
_WRAPPED: dict[tuple[Any, str], tuple[Callable[..., Any], list[Around]]] = {}
"""Methods that have functions in front of them, by class and name: the class's own, and the functions."""
ASKED = ("generate", "agenerate", "stream", "astream")
"""The calls of LangChain's chat models that all others come to."""


def overlaid_text(text: str) -> str:
    """The text to send in place of this one: held texts in it are those of the candidate under evaluation."""
    overlay = active()
    if overlay is None:
        with suppress(PromptError):  # optimizer and judge models may read a prompt twice in one message
            return _replaced(text)
        return text
    if text in overlay.sent:
        return text  # LangChain's models call the openai client, and streams fall back to `generate`
    text = _replaced(text)
    overlay.sent.add(text)
    return text


def _replaced(text: str) -> str:
    """The text with all held texts in it replaced; they are looked for in what the program made, not in a candidate."""
    changes: list[tuple[int, int, str]] = []
    for held in installed(HeldText):
        found = held.find(text)
        if found is None or any(found.start < end and start < found.end for start, end, _ in changes):
            continue
        other = current(held, found.holes)
        if other is not None:
            changes.append((found.start, found.end, note_made(held, held.filled(found, other.template))))
    for start, end, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _overlaid_call(_: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    return overlaid_call(arguments)


@contextmanager
def tapped(passed: Pass = overlaid_text, told: ChangeTools = _overlaid_call) -> Iterator[None]:
    """Let the calls of models pass their texts through a function; may be entered several times at once.

    Args:
        passed: What each text goes through. It may raise, and then nothing is sent.
        told: What the other arguments go through, before the texts; the same one for the same `passed`.
    """
    undo: list[Callable[[], None]] = []
    request = _changed(_request, passed, told)
    waiting = _awaited(openai_calls(request), undo)
    with _CHANGING:
        if any(other is passed for other, _ in _TAPS):
            _end(waiting)
        else:
            _front((*_chat_taps(passed, told),), waiting, undo)
        entry = (passed, undo)
        _TAPS.append(entry)
    try:
        yield
    finally:
        with _CHANGING:
            _leave(entry)


def _leave(entry: tuple[Pass, list[Callable[[], None]]]) -> None:
    """Take a tap off; where others use the same one, the last of them does."""
    at = next(i for i, known in enumerate(_TAPS) if known is entry)
    _TAPS.pop(at)
    heirs = [i for i, (passed, _) in enumerate(_TAPS) if passed is entry[0]]
    if heirs and entry[1]:
        _TAPS[heirs[0]] = (entry[0], entry[1])
    elif entry[1]:
        for undo in reversed(entry[1]):
            undo()


def texts_of(sent: Any) -> list[str]:
    """The texts in what a model is called with: prompt values, messages in any of LangChain's forms, parts of them."""
    found: list[str] = []
    if isinstance(sent, str):
        found.append(sent)
    elif isinstance(sent, PromptValue):
        found += texts_of(sent.to_messages())
    elif isinstance(sent, BaseMessage):
        found += texts_of(sent.content)
    elif isinstance(sent, dict):
        found += texts_of(sent.get("content", sent.get("text")))
    elif isinstance(sent, list | tuple):
        for one in sent:
            found += texts_of(one)
    return found


def _chat_taps(passed: Pass, told: ChangeTools) -> Iterator[Fronted]:
    for name in ASKED:
        yield BaseChatModel, name, _changed(_batch if "generate" in name else _input, passed, told)


def openai_calls(around: Around) -> tuple[Later, ...]:
    """The openai client's own calls, where it is loaded, with a function in front; it loads them at the first call."""
    if "openai" not in sys.modules:
        return ()

    def of(module: Any) -> Iterator[Fronted]:
        for kind in ("Completions", "AsyncCompletions", "Responses", "AsyncResponses"):
            for name in ("create", "parse"):
                if name in vars(getattr(module, kind, object)):
                    yield getattr(module, kind), name, around

    return ("openai.resources.chat.completions.completions", of), ("openai.resources.responses.responses", of)


def _changed(change: ChangeCall, passed: Pass, told: ChangeTools) -> Around:
    """What changes the arguments of a call.

    Args:
        change: Knows where the texts of this call are.
        passed: What each text goes through.
        told: What the keyword arguments go through.
    """

    # what is awaited or iterated is made by the method itself, so one function serves all four kinds of call
    def changed(method: Callable[..., Any], asked: Any, /, *args: Any, **kwargs: Any) -> Any:
        new_args, new_kwargs = change(passed, args, told(asked, kwargs))
        return method(asked, *new_args, **new_kwargs)

    return changed


@contextmanager
def fronted(methods: Iterable[Fronted] = (), later: Iterable[Later] = ()) -> Iterator[None]:
    """A block with functions in front of methods.

    Args:
        methods: Methods of classes that are there.
        later: Methods of modules that the program may import in the block: importing them here takes longer than a
            dry run, and most programs never do.
    """
    undo: list[Callable[[], None]] = []
    waiting = _awaited(later, undo)
    with _CHANGING:
        _front(methods, waiting, undo)
    try:
        yield
    finally:
        with _CHANGING:
            for one in reversed(undo):
                one()


def _front(methods: Iterable[Fronted], waiting: Sequence[_Waiting], undo: list[Callable[[], None]]) -> None:
    for one in waiting:
        undo.append(one.end)  # as the last of all, so nothing comes after it
    undo.extend(_wrap(*method) for method in methods)
    for one in waiting:
        one.look()


def _end(waiting: Iterable[_Waiting]) -> None:
    for one in waiting:
        one.end()


_WAITING: list[_Waiting] = []


@dataclass(eq=False)
class _Waiting:
    """What is fronted in a module as soon as it is imported.

    Args:
        module: Its name.
        methods: From the module to what is fronted in it.
        undo: What takes that off again is added to it.
    """

    module: str
    methods: Callable[[Any], Iterable[Fronted]]
    undo: list[Callable[[], None]]
    over: bool = False

    def there(self, module: Any) -> None:
        """The module has been imported."""
        with _CHANGING:
            if not self.over:
                self.over = True
                self.undo.extend(_wrap(*method) for method in self.methods(module))

    def look(self) -> None:
        """As `there` where it is; one whose import is under way tells when it has ended."""
        found = sys.modules.get(self.module)
        if found is not None and not getattr(found.__spec__, "_initializing", False):
            self.there(found)

    def end(self) -> None:
        """Wait no longer."""
        with _CHANGING:
            self.over = True
            _WAITING.remove(self)
            if not _WAITING and _FINDER in sys.meta_path:
                sys.meta_path.remove(_FINDER)


def _awaited(later: Iterable[Later], undo: list[Callable[[], None]]) -> list[_Waiting]:
    """Begin to wait for modules; of an import that is under way in another thread, the end is awaited here."""
    made = [_Waiting(module, methods, undo) for module, methods in later]
    with _CHANGING:
        if made and not _WAITING:
            sys.meta_path.insert(0, _FINDER)
        _WAITING.extend(made)
    for one in made:
        if one.module in sys.modules:
            import_module(one.module)
    return made


class _Finder(MetaPathFinder):
    """Finds modules as all others do, and has those that are awaited tell when they have been imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where the module is; None for one that nobody waits for.

        Args:
            fullname: Its name.
            path: Where the package around it looks for modules.
            target: The module that is imported again.
        """
        if all(one.module != fullname for one in tuple(_WAITING)):
            return None
        for finder in tuple(sys.meta_path):
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                _tell_when_run(spec)
                return spec
        return None


_FINDER = _Finder()


def _tell_when_run(spec: ModuleSpec) -> None:
    loader: Any = spec.loader
    run = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        run(module)
        if module.__name__ != spec.name:  # a loader of several modules, as for an archive
            return
        vars(loader).pop("exec_module", None)
        for one in tuple(_WAITING):
            if one.module == spec.name:
                one.there(module)

    loader.exec_module = exec_module


def _wrap(owner: Any, name: str, around: Around) -> Callable[[], None]:
    """Put a function in front of a class's own method; several may be there, and be taken off in any order.

    Args:
        owner: The class.
        name: Of the method.
        around: The function.

    Returns:
        Takes it off again.
    """
    key = (owner, name)
    if key not in _WRAPPED:
        _WRAPPED[key] = (owner.__dict__[name], [])
        setattr(owner, name, _with_fronts(*_WRAPPED[key]))
    plain, fronts = _WRAPPED[key]
    fronts.append(around)

    def undo() -> None:
        fronts.remove(around)
        if not fronts:
            del _WRAPPED[key]
            setattr(owner, name, plain)

    return undo


def _with_fronts(plain: Callable[..., Any], fronts: Sequence[Around]) -> Callable[..., Any]:
    """A method with functions in front of it, the last one first."""

    @functools.wraps(plain)
    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        method = plain
        for around in tuple(fronts):
            method = functools.partial(around, method)
        return method(self, *args, **kwargs)

    return called


def _batch(passed: Pass, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallArguments:
    """`generate(messages, ...)`: a list of conversations."""
    given = args[0] if args else kwargs["messages"]
    changed = []
    for conversation in given:
        changed.append([_message(passed, message) for message in conversation])
    return ((changed, *args[1:]), kwargs) if args else (args, kwargs | {"messages": changed})


def _input(passed: Pass, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallArguments:
    """`stream(input, ...)`: a prompt value, a text, or messages in any of LangChain's forms."""
    from langchain_core.messages.utils import convert_to_messages

    given = args[0] if args else kwargs["input"]
    if isinstance(given, str):
        changed: Any = passed(given)
    else:
        messages = given.to_messages() if isinstance(given, PromptValue) else convert_to_messages(given)
        changed = [_message(passed, message) for message in messages]
    return ((changed, *args[1:]), kwargs) if args else (args, kwargs | {"input": changed})


def _request(passed: Pass, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallArguments:
    """`create(messages=...)` of chat completions, `create(input=..., instructions=...)` of responses."""
    changed = dict(kwargs)
    for name in ("messages", "input"):
        given = kwargs.get(name)
        if isinstance(given, str):
            changed[name] = passed(given)
        elif isinstance(given, list):
            changed[name] = [_plain_message(passed, message) for message in given]
    if isinstance(kwargs.get("instructions"), str):
        changed["instructions"] = passed(kwargs["instructions"])
    return args, changed


def _message(passed: Pass, message: Any) -> Any:
    if not isinstance(message, BaseMessage):
        return message
    content = _content(passed, message.content)
    return message if content is message.content else message.model_copy(update={"content": content})


def _plain_message(passed: Pass, message: Any) -> Any:
    if not isinstance(message, dict) or "content" not in message:
        return message
    return message | {"content": _content(passed, message["content"])}


def _content(passed: Pass, content: Any) -> Any:
    """A message's content with its text passed on; parts that are no text stay as they are."""
    if isinstance(content, str):
        new = passed(content)
        return content if new == content else new
    if not isinstance(content, list):
        return content
    parts = [_part(passed, part) for part in content]
    return content if all(new is old for new, old in zip(parts, content, strict=True)) else parts


def _part(passed: Pass, part: Any) -> Any:
    if isinstance(part, str):
        return passed(part)
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        new = passed(part["text"])
        return part if new == part["text"] else part | {"text": new}
    return part
