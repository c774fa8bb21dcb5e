"""Recurring runs on Kubeflow, known by their names: set, replaced, listed, removed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kfp.dsl.base_component import BaseComponent

from pipelines.compiling import Limits
from pipelines.kubeflow import SubmitError, Target, explained, open_client
from pipelines.submission import named, upload
from stocktake.errors import SettingsError

CRON_FIELDS = 6  # seconds come first
MOST = 200  # schedules on a page of the API


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a run begins: by `cron`, or every `interval` seconds; one of them is set."""

    cron: str = ""
    interval: int = 0

    def __post_init__(self) -> None:
        if bool(self.cron) == bool(self.interval):
            raise SettingsError("a schedule takes one of --cron and --interval")
        if self.cron and not self.cron.startswith("@") and len(self.cron.split()) != CRON_FIELDS:
            raise SettingsError(
                f"--cron {self.cron!r}: Kubeflow wants {CRON_FIELDS} fields, seconds first: '0 0 3 * * *' is"
                " every night at three"
            )
        if self.interval < 0 or 0 < self.interval < 60:
            raise SettingsError(f"--interval is {self.interval}; it must be at least 60 seconds")

    def __str__(self) -> str:
        return f"cron {self.cron}" if self.cron else f"every {self.interval} s"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A recurring run that is set."""

    name: str
    trigger: str
    is_enabled: bool
    link: str
    is_new: bool = False


def set_schedule(
    pipeline: BaseComponent,
    arguments: Mapping[str, Any],
    target: Target,
    name: str,
    trigger: Trigger,
    limits: Limits | None = None,
) -> Schedule:
    """Have the pipeline run again and again; what had this name is replaced, and the same again is kept.

    One run at a time; those that were missed while the cluster was down are not caught up on. The new
    schedule is made before the old one goes, so a call that is killed leaves one of them.

    Raises:
        SubmitError: the API cannot be reached, or refuses.
    """
    client = open_client(target)
    with explained(target):
        version = upload(client, pipeline, target.namespace, limits)
        experiment = client.create_experiment(target.experiment, namespace=target.namespace)
        wanted = _facts(version.version_id, trigger, arguments)
        old = _find(client, target, name)
        kept = next((each for each in old if _facts_of(each) == wanted and _enabled(each)), None)
        made = kept or client.create_recurring_run(
            experiment.experiment_id,
            name,
            cron_expression=trigger.cron or None,
            interval_second=trigger.interval or None,
            max_concurrency=1,
            no_catchup=True,
            params=dict(arguments),
            version_id=version.version_id,
            pipeline_id=version.pipeline_id,
        )
        for each in old:
            if each is not kept:
                client.delete_recurring_run(each.recurring_run_id)
    return Schedule(
        name, str(trigger), True, target.link("recurringrun", made.recurring_run_id), kept is None
    )


def list_schedules(target: Target) -> list[Schedule]:
    """The recurring runs of the experiment, by name."""
    client = open_client(target)
    with explained(target):
        found = _find(client, target)
    shown = [
        Schedule(
            each.display_name,
            _trigger_text(each),
            _enabled(each),
            target.link("recurringrun", each.recurring_run_id),
        )
        for each in found
    ]
    return sorted(shown, key=lambda each: each.name)


def remove_schedule(target: Target, name: str) -> None:
    """Remove the recurring run of this name.

    Raises:
        SubmitError: there is none.
    """
    client = open_client(target)
    with explained(target):
        found = _find(client, target, name)
        for each in found:
            client.delete_recurring_run(each.recurring_run_id)
    if not found:
        raise SubmitError(f"{target.host}: there is no schedule {name}; `schedules` lists those that are set")


def _find(client: Any, target: Target, name: str = "") -> list[Any]:
    experiment = client.create_experiment(target.experiment, namespace=target.namespace)
    answer = client.list_recurring_runs(
        page_size=MOST, experiment_id=experiment.experiment_id, filter=named(name) if name else None
    )
    return [each for each in answer.recurring_runs or () if not name or each.display_name == name]


def _facts(
    version_id: str, trigger: Trigger, arguments: Mapping[str, Any]
) -> tuple[str, str, dict[str, Any]]:
    return version_id, str(trigger), dict(arguments)


def _facts_of(schedule: Any) -> tuple[str, str, dict[str, Any]] | None:
    """The same of a schedule that is set, or None where it was made by hand in another way."""
    reference, runtime = schedule.pipeline_version_reference, schedule.runtime_config
    if reference is None:
        return None
    parameters = (runtime and runtime.parameters) or {}  # where 1.0 comes back as 1, which is equal
    return reference.pipeline_version_id, _trigger_text(schedule), dict(parameters)


def _trigger_text(schedule: Any) -> str:
    trigger = schedule.trigger
    if trigger is not None and trigger.cron_schedule is not None:
        return f"cron {trigger.cron_schedule.cron}"
    if trigger is not None and trigger.periodic_schedule is not None:
        return f"every {int(trigger.periodic_schedule.interval_second)} s"
    return "no trigger"


def _enabled(schedule: Any) -> bool:
    return str(schedule.status or schedule.mode).upper() in ("ENABLED", "ENABLE")
