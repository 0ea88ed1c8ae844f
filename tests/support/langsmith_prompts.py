"""The prompt hub: repositories, commits with their parents, tags that move."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from uuid import uuid4

from tests.support.http_messages import HttpError, Request, Response
from tests.support.langsmith_state import TENANT, Row, State
from tests.support.router import route


@dataclass
class Repo:
    """A prompt: its commits, oldest first, and tag -> commit hash."""

    info: Row
    commits: list[Row] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> Row | None:
        return self.commits[-1] if self.commits else None

    def commit(self, ref: str) -> Row:
        """The commit meant by `latest`, a tag, an id, a hash, or the beginning of one (6 characters or more)."""
        ref = self.tags.get(ref, ref)
        for commit in reversed(self.commits):
            if ref in ("latest", commit["id"]) or (len(ref) >= 6 and commit["commit_hash"].startswith(ref)):
                return commit
        raise HttpError(404, f"Commit {ref} not found")


class Prompts:
    """The endpoints below /repos and /commits, and /settings.

    With `strict_tags` a POST of a tag that exists is refused with 409 instead of moving it:
    which of the two the service does was never observed.
    """

    def __init__(self, state: State, *, strict_tags: bool = False) -> None:
        self.state, self.strict_tags = state, strict_tags
        self.all: dict[str, Repo] = {}

    def get(self, owner: str, repo: str) -> Repo:
        if owner not in ("-", self.state.handle) or repo not in self.all:
            raise HttpError(404, f"Repository {owner}/{repo} not found")
        return self.all[repo]

    def shown(self, repo: Repo) -> Row:
        last = repo.head["commit_hash"] if repo.head else None
        return {**repo.info, "num_commits": len(repo.commits), "last_commit_hash": last, "commit_tags": repo.tags}

    @route("GET /settings")
    def settings(self, request: Request) -> Row:
        created = "2026-01-01T00:00:00+00:00"
        return {"id": TENANT, "display_name": "Tests", "created_at": created, "tenant_handle": self.state.handle}

    @route("POST /repos")
    def create(self, request: Request) -> Row:
        body, now = request.json(), self.state.now().isoformat()
        name = body["repo_handle"]
        if name in self.all:
            raise HttpError(409, f"Repository {name} already exists")
        info: Row = {
            "description": None, "readme": None, "tags": [], "is_public": False, "is_archived": False,
            "owner": self.state.handle, "full_name": f"{self.state.handle}/{name}", "id": str(uuid4()),
            "tenant_id": TENANT, "created_at": now, "updated_at": now,
            "num_likes": 0, "num_downloads": 0, "num_views": 0,
        }  # fmt: skip
        self.all[name] = Repo({**info, **body})
        return {"repo": self.shown(self.all[name])}

    @route("GET /repos")
    def listed(self, request: Request) -> Row:
        query, public, archived = request.one("query") or "", request.one("is_public"), request.one("is_archived")
        rows = [
            self.shown(repo)
            for name, repo in self.all.items()
            if name.startswith(query)
            and (public is None or repo.info["is_public"] == (public == "true"))
            and repo.info["is_archived"] == (archived == "true")
        ]
        at, size = int(request.one("offset") or 0), int(request.one("limit") or 20)
        rows.sort(key=lambda row: str(row["updated_at"]), reverse=True)
        return {"repos": rows[at : at + size], "total": len(rows)}

    @route("GET /repos/{owner}/{repo}")
    def read(self, request: Request, owner: str, repo: str) -> Row:
        return {"repo": self.shown(self.get(owner, repo))}

    @route("PATCH /repos/{owner}/{repo}")
    def update(self, request: Request, owner: str, repo: str) -> Row:
        self.get(owner, repo).info.update(request.json(), updated_at=self.state.now().isoformat())
        return {"repo": self.shown(self.all[repo])}

    @route("DELETE /repos/{owner}/{repo}")
    def delete(self, request: Request, owner: str, repo: str) -> Row:
        self.get(owner, repo)
        return self.all.pop(repo).info

    @route("GET /commits/{owner}/{repo}")
    def commits(self, request: Request, owner: str, repo: str) -> Row:
        newest = self.get(owner, repo).commits[::-1]
        at, size = int(request.one("offset") or 0), int(request.one("limit") or 20)
        return {"commits": newest[at : at + size], "total": len(newest)}

    @route("POST /commits/{owner}/{repo}")
    def push(self, request: Request, owner: str, repo: str) -> Response:
        prompt, body = self.get(owner, repo), request.json()
        head, parent, manifest = prompt.head, body.get("parent_commit"), body["manifest"]
        head_hash = head["commit_hash"] if head else None
        if parent != head_hash and not (head_hash and parent and len(parent) >= 6 and head_hash.startswith(parent)):
            raise HttpError(409, f"parent_commit {parent} is not the latest commit {head_hash}")
        if head is not None and head["manifest"] == manifest:
            raise HttpError(409, "Nothing to commit: prompt has not changed since latest commit")
        now = self.state.now().isoformat()
        content = json.dumps([head_hash, manifest], sort_keys=True)
        commit = {
            "id": str(uuid4()), "commit_hash": hashlib.sha256(content.encode()).hexdigest(),
            "parent_id": head["id"] if head else None, "parent_commit_hash": head_hash,
            "manifest_id": str(uuid4()), "repo_id": prompt.info["id"], "manifest": manifest, "examples": [],
            "description": body.get("description"), "created_at": now, "updated_at": now,
            "example_run_ids": [], "num_downloads": 0, "num_views": 0,
        }  # fmt: skip
        prompt.commits.append(commit)
        prompt.info["updated_at"] = now
        return Response.of({"commit": commit})

    @route("GET /commits/{owner}/{repo}/{ref}")
    def pull(self, request: Request, owner: str, repo: str, ref: str) -> Row:
        return self.get(owner, repo).commit(ref)

    @route("GET /repos/{owner}/{repo}/tags")
    def tags(self, request: Request, owner: str, repo: str) -> list[Row]:
        prompt = self.get(owner, repo)
        return [_tag(prompt, name) for name in prompt.tags]

    @route("POST /repos/{owner}/{repo}/tags", "PATCH /repos/{owner}/{repo}/tags/{tag}")
    def tag(self, request: Request, owner: str, repo: str, tag: str | None = None) -> Row:
        prompt, body = self.get(owner, repo), request.json()
        name = tag or body["tag_name"]
        if tag is None and name in prompt.tags and self.strict_tags:
            raise HttpError(409, f"Tag {name} already exists")
        if tag is not None and tag not in prompt.tags:
            raise HttpError(404, f"Tag {tag} not found")
        prompt.tags[name] = prompt.commit(body["commit_id"])["commit_hash"]
        return _tag(prompt, name)

    @route("GET /repos/{owner}/{repo}/tags/{tag}", "DELETE /repos/{owner}/{repo}/tags/{tag}")
    def one_tag(self, request: Request, owner: str, repo: str, tag: str) -> Row:
        prompt = self.get(owner, repo)
        if tag not in prompt.tags:
            raise HttpError(404, f"Tag {tag} not found")
        shown = _tag(prompt, tag)
        if request.method == "DELETE":
            del prompt.tags[tag]
        return shown


def _tag(prompt: Repo, name: str) -> Row:
    commit = prompt.commit(prompt.tags[name])
    return {"tag_name": name, "commit_id": commit["id"], "commit_hash": commit["commit_hash"]}
