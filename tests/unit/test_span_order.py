"""Every span has its parent, in whatever order and batches the SDK's threads hand runs over."""

from __future__ import annotations

import random
import uuid
from itertools import permutations

from langsmith._internal._operations import combine_serialized_queue_operations, serialize_run_dict
from langsmith._internal.otel._otel_exporter import OTELExporter
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langchain_promptopt._langsmith import otel
from langchain_promptopt._langsmith.otel import InOrder

NOW = "2026-01-01T00:00:00Z"


class Sent:
    """Runs named by numbers, handed over as the SDK does, and the spans that came of them."""

    def __init__(self, **settings):
        self._kept = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._kept))
        self.ordered = InOrder(self._made, self.provider, **settings)

    def _made(self, provider):
        self.theirs = OTELExporter(tracer_provider=provider)
        return self.theirs

    def send(self, *operations, context=None):
        batch = combine_serialized_queue_operations(list(operations))
        self.ordered.export_batch(batch, {op.id: context for op in batch})

    @property
    def names(self):
        return [span.name for span in self._kept.get_finished_spans()]

    @property
    def tree(self):
        """Each span's parent by their names; spans of one trace only."""
        spans = self._kept.get_finished_spans()
        assert len({s.context.trace_id for s in spans}) <= 1
        by_id = {s.context.span_id: s.name for s in spans}
        assert len(by_id) == len(spans)
        return {s.name: by_id[s.parent.span_id] if s.parent else None for s in spans}


def key(number):
    return uuid.UUID(int=number)


def start(number, parent=None):
    row = {"id": key(number), "trace_id": key(1), "name": str(number), "run_type": "chain", "start_time": NOW}
    return serialize_run_dict("post", row | {"parent_run_id": None if parent is None else key(parent)})


def end(number, **told):
    return serialize_run_dict("patch", {"id": key(number), "trace_id": key(1), "end_time": NOW, **told})


def family():
    return [start(1), start(2, 1), start(3, 2), end(1), end(2), end(3)]


def test_the_tree_is_whole_in_all_720_orders_of_three_runs_one_in_another():
    wrong = []
    for order in permutations(range(6)):
        sent = Sent()
        operations = family()
        for i in order:
            sent.send(operations[i])
        if sent.tree != {"1": None, "2": "1", "3": "2"}:
            wrong.append(order)
    assert wrong == []


def test_the_tree_is_whole_however_runs_are_cut_into_batches():
    """The SDK puts start and end together where one batch has both."""
    parents = {n: None if n == 1 else n // 3 + 1 for n in range(1, 31)}
    for seed in range(40):
        chance = random.Random(seed)
        operations = [start(n, p) for n, p in parents.items()] + [end(n) for n in parents]
        chance.shuffle(operations)
        sent = Sent()
        while operations:
            cut = chance.randint(1, 12)
            sent.send(*operations[:cut])
            del operations[:cut]
        assert sent.tree == {str(n): None if p is None else str(p) for n, p in parents.items()}
        assert not sent.theirs._span_info


def test_what_comes_later_of_a_run_that_goes_on_does_not_end_it():
    sent = Sent()
    sent.send(end(1, end_time=None, outputs={"so": "far"}))
    sent.send(start(1))
    sent.send(end(1, end_time=None))
    assert sent.names == []
    sent.send(start(2, 1), end(2))
    sent.send(end(1))
    assert sent.tree == {"1": None, "2": "1"}


def test_a_run_whose_parent_never_comes_is_sent_after_a_while_with_its_children():
    seconds = [0.0]
    sent = Sent(patience=10, clock=lambda: seconds[0])
    sent.send(start(4, 3), end(4))
    sent.send(start(3, 2), end(3))
    seconds[0] = 9.0
    sent.send(end(3))
    assert sent.names == []
    seconds[0] = 11.0
    sent.send(start(1))
    assert sent.tree == {"3": None, "4": "3"}


def test_at_the_end_of_the_run_nothing_waits():
    """Neither runs without their parents nor runs that never ended, such as those of a thread that was given up."""
    sent = Sent()
    sent.send(start(4, 3), end(4))
    sent.send(start(3, 9), end(3))
    sent.ordered.finish()
    assert sent.tree == {"3": None, "4": "3"}
    sent = Sent()
    sent.send(start(1), start(2, 1))
    sent.send(end(2))
    sent.ordered.finish()
    assert sent.tree == {"1": None, "2": "1"}
    assert not sent.theirs._span_info


def test_what_is_remembered_is_bounded_and_no_span_is_lost(monkeypatch):
    monkeypatch.setattr(otel, "_REMEMBERED", 10)
    sent = Sent()
    for n in range(1, 101):
        sent.send(start(n, 1000), end(n))
        sent.send(end(5000 + n))
        sizes = [len(v) for v in vars(sent.ordered).values() if isinstance(v, dict)]
        assert max(sizes) <= 10
    sent.ordered.finish()
    assert sorted(sent.names, key=int) == [str(n) for n in range(1, 101)]


def test_a_root_is_below_the_span_in_which_the_application_started_it():
    sent = Sent()
    with sent.provider.get_tracer("app").start_as_current_span("app") as app:
        context = trace.set_span_in_context(app)
        for operation in reversed(family()):
            sent.send(operation, context=context)
    assert sent.tree == {"app": None, "1": "app", "2": "1", "3": "2"}
