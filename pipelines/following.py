"""Follows a run on Kubeflow until it ends: a line whenever a step changes its state."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from pipelines.kubeflow import DEFAULT_NAMESPACE, SubmitError, Target, Unanswered, explained, open_client

POLL_S = 5.0
OUTAGE_S = 300.0  # for which the API may be away, as when a port-forward breaks
ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")

Say = Callable[[str], None]


def follow(
    target: Target,
    run_id: str,
    steps: Collection[str],
    say: Say,
    poll_s: float = POLL_S,
    outage_s: float = OUTAGE_S,
) -> str:
    """Say each change of a step's state; return the outcome in a sentence when the run has succeeded.

    Args:
        target: the API.
        run_id: of the run.
        steps: names of the tasks that do the work; what Kubeflow adds to drive them is not shown.
        say: called with each line.
        poll_s: between two looks.
        outage_s: for which the API may not answer.

    Raises:
        SubmitError: the run has failed or was cancelled, or the API is away for too long; says which step
            failed and where its log is.
    """
    states: dict[str, str] = {}
    begun = time.monotonic()
    client = open_client(target)
    while True:
        run = _look(client, target, run_id, outage_s, poll_s)
        tasks = (run.run_details and run.run_details.task_details) or []
        for name, state in _states(tasks, steps):
            if states.get(name) != state:
                states[name] = state
                say(f"{_clock(begun)} {name}: {state.lower()}")
        if run.state in ENDED:
            break
        time.sleep(poll_s)
    if run.state in ("FAILED", "CANCELED"):
        raise SubmitError(_failure(target, run, tasks, states))
    return f"the run has {run.state.lower()} after {_clock(begun)}: {target.link('runs', run_id)}"


def _look(client: Any, target: Target, run_id: str, outage_s: float, poll_s: float) -> Any:
    """The run; tried again while the API does not answer."""
    deadline = time.monotonic() + outage_s
    while True:
        try:
            with explained(target):
                return client.get_run(run_id)
        except Unanswered as error:
            if time.monotonic() >= deadline:
                link = target.link("runs", run_id)
                raise SubmitError(f"{error}; the run goes on without us: {link}") from error
        time.sleep(poll_s)


def _states(tasks: Iterable[Any], steps: Collection[str]) -> list[tuple[str, str]]:
    """Names and states of the steps, in the order of their beginning; those of a loop are numbered."""
    found: dict[str, int] = {}
    states = []
    for task in sorted(tasks, key=lambda task: (str(task.create_time), str(task.task_id))):
        name = task.display_name
        if name in steps and task.state:
            found[name] = found.get(name, 0) + 1
            states.append((f"{name} {found[name]}" if found[name] > 1 else name, task.state))
    return states


def _failure(target: Target, run: Any, tasks: Iterable[Any], states: Mapping[str, str]) -> str:
    failed = [name for name, state in states.items() if state == "FAILED"]
    errors = [each.error for each in (*tasks, run) if each.error and each.error.message]
    reason = f" ({errors[0].message})" if errors else ""
    namespace = target.namespace or DEFAULT_NAMESPACE
    return (
        f"{', '.join(failed) or 'the run'} {'failed' if failed else 'was ' + run.state.lower()}{reason}\n"
        f"  its log: {target.link('runs', run.run_id)}, or\n"
        f"  kubectl -n {namespace} logs -l pipeline/runid={run.run_id} -c main --prefix --tail 50"
    )


def _clock(begun: float) -> str:
    seconds = int(time.monotonic() - begun)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
