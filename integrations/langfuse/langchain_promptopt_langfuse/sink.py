"""Prompts as versions in Langfuse: a `PromptSink`, labels that move, and the way back into LangChain."""

from __future__ import annotations

import os
import urllib.parse
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from langfuse.api import (
    CreateChatPromptRequest,
    CreateChatPromptType,
    CreateTextPromptRequest,
    LangfuseAPI,
    NotFoundError,
)
from langfuse.api.core.api_error import ApiError

from langchain_promptopt.errors import ConflictError, CredentialsError, PromptError, UnavailableError
from langchain_promptopt_langfuse.form import content_of, template_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langchain_core.prompts import BasePromptTemplate
    from langfuse import Langfuse
    from langfuse.api import Prompt as Stored

    from langchain_promptopt.types import PromptSet
    from langchain_promptopt_langfuse.form import Content

_CLOUD = "https://cloud.langfuse.com"
_LATEST = "latest"


class LangfusePrompts:
    """A `PromptSink` on Langfuse's prompt management.

    One prompt is a Langfuse prompt with the given name. Several are one each in a folder, `name/prompt`. A commit is a
    version ("4"), or for several prompts a version of each ("choose=4,summarise=2").

    Args:
        name: The name in Langfuse.
        client: Your Langfuse client, whose prompt cache is then emptied after each change. Without one,
            LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_BASE_URL are read, and no tracing is set up.
    """

    def __init__(self, name: str, *, client: Langfuse | None = None) -> None:
        self.name = name
        self.client = client
        self.api = client.api if client is not None else _api()

    def push(self, prompts: PromptSet, *, message: str, parent: str | None, tag: str | None) -> str:
        """Make new versions of the prompts; where the newest versions hold them already, none is made.

        Args:
            prompts: The prompts, as `result.best`.
            message: The commit message.
            parent: The commit that must be the newest, as `head` gives it; None where the prompt is new.
            tag: The label that is moved to the new versions, as "staging"; None moves none.

        Returns:
            The commit.

        Raises:
            PromptError: A prompt has a form that Langfuse does not hold; nothing was written.
            ConflictError: `parent` is not the newest version. Where another version came in between, yours is there,
                too, but has no label.
        """
        contents = {prompt.name: content_of(prompt) for prompt in prompts.awake}
        places = self._places(list(contents))
        newest = {name: self._stored(place, label=_LATEST) for name, place in places.items()}
        for name, stored in newest.items():
            self._check_type(places[name], stored, contents[name])
        if all(v is not None and _content(v) == contents[name] for name, v in newest.items()):
            made = {name: v.version for name, v in newest.items() if v is not None}
        else:
            self._check(_commit(newest), parent)
            made = {}
            for name, content in contents.items():
                made[name] = self._create(places[name], content, message, newest[name])
        for name, version in made.items() if tag else ():
            self._label(places[name], version, str(tag))
        self._changed()
        return _named(made)

    def head(self, prompts: PromptSet | None = None, *, tag: str = _LATEST) -> str | None:
        """The commit that has a label; by default the newest one, which a push names as its parent.

        Args:
            prompts: The prompts, where the sink holds several.
            tag: The label, as "production".

        Returns:
            The commit; None where there is none.
        """
        names = [""] if prompts is None else [prompt.name for prompt in prompts.awake]
        places = self._places(names)
        return _commit({name: self._stored(place, label=tag) for name, place in places.items()})

    def promote(self, commit: str, *, tag: str) -> str | None:
        """Move a label to a commit. Rolling back is to promote the commit that this returned.

        Args:
            commit: As `push` or `head` returned it.
            tag: The label, as "production".

        Returns:
            The commit that had the label before; None where none had it.

        Raises:
            PromptError: There is no such version; no label was moved.
        """
        versions = _versions(commit)
        places = self._places(list(versions))
        for name, version in versions.items():
            if self._stored(places[name], version=version) is None:
                msg = f"Langfuse has no version {version} of {places[name]!r}"
                raise PromptError(msg, mend="Name a commit that `push` or `head` returned.")
        before = _commit({name: self._stored(place, label=tag) for name, place in places.items()})
        for name, version in versions.items():
            self._label(places[name], version, tag)
        self._changed()
        return before

    def pull(self, reference: str = "@latest", *, prompt: str = "") -> BasePromptTemplate[Any]:
        """A version as a LangChain template of f-strings.

        Args:
            reference: "@staging" for a label, "4" for a version.
            prompt: The prompt's own name where the sink holds several.

        Raises:
            PromptError: There is no such version, or LangChain cannot say it.
        """
        place = self._place(prompt) if prompt else self.name
        if reference.startswith("@"):
            found = self._stored(place, label=reference[1:])
        else:
            found = self._stored(place, version=int(reference))
        if found is None:
            msg = f"Langfuse has no prompt {place!r} with {reference!r}"
            raise PromptError(msg, mend='Name a version ("4") or a label ("@staging") that it has.')
        return template_of(found)

    def _places(self, names: list[str]) -> dict[str, str]:
        """The name in Langfuse for each prompt."""
        if len(names) == 1:
            return {names[0]: self.name}
        places = {name: self._place(name) for name in names}
        if len(set(places.values())) < len(places):
            msg = f"two of the prompts {', '.join(map(repr, names))} would have one name in Langfuse"
            raise PromptError(msg, mend="Rename one; '/' and '|' are written as '-'.")
        return places

    def _place(self, prompt: str) -> str:
        return f"{self.name}/{prompt.replace('/', '-').replace('|', '-')}"

    def _stored(self, place: str, *, label: str | None = None, version: int | None = None) -> Stored | None:
        with self._told(place):
            try:
                return self.api.prompts.get(_quoted(place), label=label, version=version)
            except NotFoundError:
                return None

    def _check_type(self, place: str, newest: Stored | None, content: Content) -> None:
        if newest is not None and isinstance(newest.prompt, str) is not isinstance(content, str):
            msg = f"{place!r} is a {newest.type} prompt in Langfuse, whose versions all have one type"
            raise PromptError(msg, mend="Push under another name.")

    def _check(self, head: str | None, parent: str | None) -> None:
        if head != parent:
            msg = f"the newest version of {self.name!r} in Langfuse is {head}, not {parent}"
            raise ConflictError(msg, mend="Look at what changed there, then push with `parent=sink.head(prompts)`.")

    def _create(self, place: str, content: Content, message: str, before: Stored | None) -> int:
        given: dict[str, Any] = {"name": place, "prompt": content, "labels": [], "commit_message": message}
        with self._told(place):
            if isinstance(content, str):
                made = self.api.prompts.create(request=CreateTextPromptRequest(**given))
            else:
                made = self.api.prompts.create(request=CreateChatPromptRequest(**given, type=CreateChatPromptType.CHAT))
        expected = 1 if before is None else before.version + 1
        if made.version != expected:
            msg = f"somebody made a version of {place!r} at the same time: yours is {made.version}, not {expected}"
            raise ConflictError(msg, mend="No label was moved. Compare the versions in Langfuse, then push again.")
        return int(made.version)

    def _label(self, place: str, version: int, tag: str) -> None:
        with self._told(place):
            self.api.prompt_version.update(_quoted(place), version, new_labels=[tag])

    def _changed(self) -> None:
        if self.client is not None:
            self.client.clear_prompt_cache()

    @contextmanager
    def _told(self, place: str) -> Iterator[None]:
        """Langfuse's errors as ours."""
        try:
            yield
        except httpx.TransportError as error:
            msg = f"Langfuse cannot be reached: {error}"
            raise UnavailableError(msg, mend="Look at LANGFUSE_BASE_URL, or try again later.") from error
        except ApiError as error:
            status, said = error.status_code or 0, f"Langfuse answered {error.status_code}: {_message(error.body)}"
            if status in {401, 403}:
                mend = "Look at LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and the project that they belong to."
                raise CredentialsError(said, where=place, mend=mend) from error
            if status >= 500 or status == 429:
                raise UnavailableError(said, where=place, mend="Try again later.") from error
            if status == 404:
                raise
            raise PromptError(said, where=place, mend="Change the name, the label or the prompt.") from error


def _api() -> LangfuseAPI:
    """Langfuse's HTTP client as its own variables say. `Langfuse()` would set up tracing for the whole process."""
    public, secret = os.environ.get("LANGFUSE_PUBLIC_KEY"), os.environ.get("LANGFUSE_SECRET_KEY")
    if not public or not secret:
        msg = "LANGFUSE_PUBLIC_KEY or LANGFUSE_SECRET_KEY is not set"
        raise CredentialsError(msg, mend="Set both, or give `client=`.")
    url = os.environ.get("LANGFUSE_BASE_URL") or os.environ.get("LANGFUSE_HOST") or _CLOUD
    return LangfuseAPI(base_url=url, username=public, password=secret, x_langfuse_public_key=public)


def _quoted(place: str) -> str:
    return urllib.parse.quote(place, safe="")


def _message(body: Any) -> str:
    return str(body.get("message", body)) if isinstance(body, dict) else str(body)


def _content(stored: Stored) -> Content:
    """A stored prompt in the form that `content_of` gives."""
    if isinstance(stored.prompt, str):
        return stored.prompt
    made = []
    for message in stored.prompt:
        if getattr(message, "type", None) == "placeholder":
            made.append({"type": "placeholder", "name": message.name})
        else:
            made.append({"role": message.role, "content": message.content})
    return made


def _commit(versions: Mapping[str, Stored | None]) -> str | None:
    found = {name: v.version for name, v in versions.items() if v is not None}
    return _named(found) if found else None


def _named(versions: Mapping[str, int]) -> str:
    if len(versions) == 1:
        return str(next(iter(versions.values())))
    return ",".join(f"{name}={version}" for name, version in sorted(versions.items()))


def _versions(commit: str) -> dict[str, int]:
    """The version of each prompt in a commit."""
    try:
        if commit.isdecimal():
            return {"": int(commit)}
        pairs = [part.rpartition("=") for part in commit.split(",")]
        return {name: int(version) for name, _, version in pairs}
    except ValueError:
        msg = f"{commit!r} is no commit"
        raise PromptError(msg, mend="Name one that `push` or `head` returned.") from None
