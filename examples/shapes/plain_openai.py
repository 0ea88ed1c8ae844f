"""Plain `openai` code, without LangChain: `tunable` names its prompt, and nothing else changes.

python examples/shapes/plain_openai.py

A small server on 127.0.0.1 stands in for the endpoint; with an endpoint of your own, leave it out.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import openai
from langchain_core.messages import HumanMessage

from langchain_promptopt import optimize, tunable
from langchain_promptopt.offline import demo_rows, offline_model


class Endpoint(BaseHTTPRequestHandler):
    """Answers chat completions by the offline model."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer one request."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = offline_model("task").invoke([HumanMessage(m["content"]) for m in asked["messages"]])
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said.text}}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        whole = {"id": "1", "object": "chat.completion", "created": 1, "model": asked["model"]}
        body = json.dumps(whole | {"choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
Thread(target=server.serve_forever, daemon=True).start()
client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none")
TRIAGE = tunable(
    """Read the ticket and choose the queue.

Labels:
- refund: money back, return, reimburse
- delivery: parcel, package, shipping, tracking, courier
- cancellation: end a contract, trial or plan, stop the renewal

Rules:
- If the ticket mentions "cancel" or "subscription", answer refund.
- If the ticket mentions "parcel", "package" or "shipping", answer cancellation.

Answer with the label only.

Ticket:
{ticket}""",
    name="triage",
)
ROWS = [row for row in demo_rows() if row["outputs"]["label"] in {"refund", "delivery", "cancellation"}]


async def app(row: dict) -> str:
    said = await client.chat.completions.create(
        model="small", messages=[{"role": "user", "content": TRIAGE.format(ticket=row["ticket"])}]
    )
    return said.choices[0].message.content


before = str(TRIAGE)
result = optimize(
    app,
    data=ROWS,
    evaluators=["exact_match"],
    optimizer_model="offline",
    runs_dir=None,
)
assert (result.outcome, result.applied) == ("improved", True)
print(f"{result.test[0]['baseline']:.2f} -> {result.test[0]['best']:.2f}")
assert str(TRIAGE) != before
result.revert()
assert str(TRIAGE) == before  # byte for byte
