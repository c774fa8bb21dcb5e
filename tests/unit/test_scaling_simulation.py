"""The simulation of a day, against theory where theory is exact, and against what must be so."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.scaling import report
from benchmarks.scaling.__main__ import simulate as simulate_sections
from benchmarks.scaling.arrivals import HOUR, day, over_uplink, poisson
from benchmarks.scaling.autoscalers import cpu, hpa, in_flight, knative
from benchmarks.scaling.events import Events
from benchmarks.scaling.parameters import Parameters, measured
from benchmarks.scaling.pods import Deployment, Devices
from benchmarks.scaling.replicas import CpuDevice, GpuDevice, GpuReplica, Photo
from benchmarks.scaling.scenarios import ADVISED, Section, fixed, keda, on_cpu, sections
from benchmarks.scaling.simulation import Simulation, noise
from benchmarks.serving.queueing import simulate
from stocktake.errors import DataError, SettingsError

MEAN = 0.1  # s of a photo
COUNT = 30_000
PLENTY = 10**9


def pod(lanes=1, places=PLENTY):
    return CpuDevice(lanes, places, MEAN, MEAN)


def exponential(seed=1):
    return np.random.default_rng(seed).exponential(size=COUNT).tolist()


def simulated(device, load, pods=1, factors=(1.0,), concurrency=None):
    """Random arrivals, of which theory knows how long they wait. Load is 0-1 of all that there is."""
    parameters = Parameters(["predictor.deadline_s=1e9"])
    rate = load * device.photos_per_s * pods
    simulation = Simulation(
        parameters, device, 0.0, horizon=COUNT / rate, noise=factors, concurrency=concurrency
    )
    simulation.pods.start_ready(pods)
    return simulation.run(poisson(rate, COUNT / rate, seed=0).tolist())


def erlang_c(servers, load):
    """The share of those who wait, of M/M/c at `load` 0-1."""
    offered = servers * load
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers) / (1 - load)
    return last / (sum(terms) + last)


def test_one_server_with_constant_service_waits_as_pollaczek_and_khinchine_say():
    waits = simulated(pod(), 0.6).latency - MEAN
    assert waits.mean() == pytest.approx(0.6 * MEAN / (2 * 0.4), rel=0.05)


def test_one_server_with_exponential_service_has_an_exponential_latency():
    result = simulated(pod(), 0.6, factors=exponential())
    rate = 0.4 / MEAN
    assert result.latency.mean() == pytest.approx(1 / rate, rel=0.05)
    assert result.percentile(99) == pytest.approx(math.log(100) / rate, rel=0.08)


def test_four_servers_with_one_queue_wait_as_erlang_says():
    load = 0.7
    result = simulated(pod(), load, pods=4, factors=exponential(), concurrency=1)
    waits = erlang_c(4, load) * MEAN / (4 * (1 - load))
    assert result.latency.mean() == pytest.approx(MEAN + waits, rel=0.03)


def test_a_busy_pod_with_one_core_does_to_each_photo_what_the_queue_of_the_measurements_does():
    arrivals = poisson(0.9 / MEAN, 400, seed=5)
    ours = fixed_pod(pod(), arrivals, (1.0,))
    assert ours == pytest.approx(simulate(arrivals, np.array([MEAN]), lanes=1))


@pytest.mark.parametrize("load", [0.3, 0.8])
def test_a_photo_alone_has_all_cores_as_in_the_queue_of_the_measurements(load):
    device = CpuDevice(cores=2, places=PLENTY, alone_s=0.09, lane_s=0.14)
    factors = np.array(noise(measured(), 1))
    arrivals = poisson(load * device.photos_per_s, 600, seed=5)
    theirs = simulate(arrivals, 0.14 * factors, lanes=2, alone_s=0.09 * factors)
    assert fixed_pod(device, arrivals, factors).mean() == pytest.approx(theirs.mean(), rel=0.03)


def fixed_pod(device, arrivals, factors):
    simulation = Simulation(
        Parameters(["predictor.deadline_s=1e9"]), device, 0.0, horizon=600, noise=list(factors)
    )
    simulation.pods.start_ready(1)
    return simulation.run(arrivals.tolist()).latency


def test_the_less_busy_of_two_pods_waits_less_than_at_random_and_more_than_in_one_queue():
    load = 0.8
    waits = simulated(pod(), load, pods=4, factors=exponential()).latency.mean() - MEAN
    assert erlang_c(4, load) * MEAN / (4 * (1 - load)) < waits < load * MEAN / (1 - load)


def test_full_places_refuse_as_erlang_loss_says():
    # M/M/1/K, K places: those who come while all are taken are refused; nobody asks again.
    load, places = 0.9, 3
    parameters = Parameters(["client.tries=1", "predictor.deadline_s=1e9"])
    simulation = Simulation(parameters, pod(places=places), 0.0, horizon=4000, noise=exponential())
    simulation.pods.start_ready(1)
    result = simulation.run(poisson(load / MEAN, 4000, seed=2).tolist())
    lost = (1 - load) * load**places / (1 - load ** (places + 1))
    assert result.gave_up / result.photos == pytest.approx(lost, rel=0.05)
    assert result.gave_up == result.refusals == result.photos - len(result.latency)


def gpu(cores=2):
    return GpuDevice(cores, PLENTY, 0.01, 0.02, 0.005, 0.001, max_batch=32)


def answered_at(device, count):
    events, ends = Events(100), []
    replica = GpuReplica(device, events, lambda *_: ends.append(events.now), lambda *_: None, 30)
    for _ in range(count):
        replica.offer(Photo(0, 1, 0))
    events.run([], lambda _: None)
    return ends, replica


def test_a_photo_alone_on_a_gpu_takes_the_sum_of_its_stages():
    ends, replica = answered_at(gpu(), 1)
    assert ends == pytest.approx([0.036])
    assert replica.core_s == pytest.approx(0.03)


def test_photos_on_a_gpu_share_batches_and_what_is_nearest_to_its_answer_goes_first():
    ends, _ = answered_at(gpu(cores=4), 4)
    assert ends == pytest.approx([0.01 + 0.006 + 0.02] + [0.01 + 0.006 + 0.008 + 0.02] * 3)  # one, then three


@pytest.mark.parametrize("device", [gpu(), gpu(cores=40)], ids=["cores", "gpu"])
def test_a_busy_gpu_is_as_fast_as_its_slowest_stage(device):
    ends, _ = answered_at(device, 2000)
    assert len(ends) / ends[-1] == pytest.approx(device.photos_per_s, rel=0.03)


def test_a_day_has_the_photos_that_were_told_between_opening_and_closing():
    parameters = Parameters(["day.shops=40", "day.hours_sd_h=0", "day.round_sd_h=0"])
    arrivals = day(parameters, seed=1)
    told = parameters.day
    shots = (told.closes_h - told.opens_h) * HOUR / told.camera_period_s
    assert len(arrivals) == 40 * (shots * told.cameras + 2 * told.round_photos)
    assert (np.diff(arrivals) >= 0).all()
    assert arrivals[0] > (told.opens_h + told.morning_round_h) * HOUR
    assert (arrivals == day(parameters, seed=1)).all()
    assert len(arrivals[arrivals < 12 * HOUR]) > 0.25 * len(arrivals)


def test_a_train_of_photos_takes_as_long_as_its_uplink():
    assert over_uplink(np.array([0.0, 0.0, 0.0, 10.0]), 2) == pytest.approx([0.5, 1.0, 1.5, 10.5])


def small_day(policy, concurrency=None, disturb=None):
    """An hour that wants one pod for ten minutes, then five, then none."""
    device = CpuDevice(cores=2, places=48, alone_s=0.4, lane_s=0.6)
    simulation = Simulation(
        Parameters(), device, 12, horizon=HOUR, noise=noise(measured(), 1), concurrency=concurrency
    )
    policy(simulation)
    if disturb:
        simulation.events.after(1200, lambda _: disturb(simulation.pods))
    calm, busy = poisson(1, 600, seed=1), 600 + poisson(3.5 * device.photos_per_s, 1200, seed=2)
    return simulation.run(np.concatenate([calm, busy]).tolist())


def ready_at(result, second):
    return dict(result.samples[:, :2].tolist())[second]


POLICIES = {
    "in flight": (lambda view: hpa(view, in_flight(view, 2), 1, 300), None),
    "cpu": (lambda view: hpa(view, cpu(view, 0.8), 1, 300), None),
    "knative": (lambda view: knative(view, 2), 4),
}


@pytest.mark.parametrize("name", POLICIES)
def test_autoscalers_follow_the_load_up_and_down_and_no_photo_is_lost_from_sight(name):
    policy, concurrency = POLICIES[name]
    result = small_day(policy, concurrency)
    assert ready_at(result, 540) <= 2
    assert ready_at(result, 1740) >= 4
    assert ready_at(result, HOUR) == (0 if name == "knative" else 1)
    assert result.photos == len(result.latency) + result.gave_up
    assert result.device_h == pytest.approx(result.samples[:-1, 2].sum() / 60, rel=0.1)


def test_killed_capacity_shows_in_latency_and_losses_and_comes_back():
    calm = small_day(lambda view: view.pods.start_ready(5))
    killed = small_day(lambda view: view.pods.start_ready(5), disturb=lambda pods: pods.kill(4))
    assert calm.refusals == calm.killed == 0
    assert killed.killed > 0
    assert killed.percentile(99) > 2 * calm.percentile(99)
    assert killed.photos == len(killed.latency) + killed.gave_up
    assert ready_at(killed, 1260) == 5


def rollout(pods, devices, surge):
    """Least and most ready pods, devices held at most, and whether all were replaced."""
    events = Events(1000)
    nodes = Devices(events, SimpleNamespace(devices=devices, start_s=0, pull_s=0, idle_s=0))
    deployment = Deployment(events, nodes, lambda: SimpleNamespace(inside=0, core_s=0.0), 30, 15)
    deployment.start_ready(pods)
    old, seen = list(deployment.ready), []
    events.every(1, lambda: seen.append((len(deployment.ready), nodes.held)), first=1)
    events.after(10, lambda _: deployment.roll(surge))
    events.run([], lambda _: None)
    ready, held = zip(*seen, strict=True)
    assert len(deployment.ready) == pods
    return min(ready), max(held), not set(map(id, old)) & set(map(id, deployment.ready))


def test_a_rollout_without_surge_needs_no_spare_device_but_two_pods():
    assert rollout(pods=2, devices=2, surge=0) == (1, 2, True)
    assert rollout(pods=1, devices=1, surge=0) == (0, 1, True)


def test_a_rollout_with_surge_needs_a_spare_device_and_hangs_without():
    assert rollout(pods=2, devices=3, surge=1) == (2, 3, True)
    assert rollout(pods=2, devices=2, surge=1) == (2, 2, False)


def test_nodes_of_a_cloud_start_late_and_are_paid_for_while_idle():
    events = Events(10_000)
    devices = Devices(events, SimpleNamespace(devices=1, start_s=300, pull_s=60, idle_s=600))
    assert devices.take() == 360
    assert devices.take() is None
    devices.give()
    assert devices.take() == 0
    devices.give()
    events.run([], lambda _: None)
    assert (devices.held, devices.held_s()) == (0, 600)


def test_parameters_say_what_is_wrong_with_a_change():
    assert Parameters(["day.shops=7"]).day.shops == 7
    for change in ("day.shop=7", "shops=7", "day.shops", "day.shops=many", "day.shops=nan"):
        with pytest.raises(SettingsError, match=r"^--set "):
            Parameters([change])


def test_a_page_without_results_is_named(tmp_path):
    page = tmp_path / "performance.md"
    page.write_text("### shelf-detector\n\nnothing yet\n")
    with pytest.raises(DataError, match=f"^{page}: "):
        measured(page)


def test_the_tables_have_each_row_the_advised_one_marked_and_the_same_figures_each_time():
    compared = Section("Small", "cpu", ("day.cameras=5",), (fixed(1), keda(2), on_cpu()))
    first, second = (simulate_sections((compared,), ["day.shops=2"], seed=4) for _ in range(2))
    text = report.markdown(first)
    assert first == second
    for row in ("| fixed, 1 |", "| KEDA, 2 in flight |", "CPU (advised) |", "| day.shops | 2 |"):
        assert row in text


def test_each_kind_of_pod_has_its_advised_row_in_the_tables_that_are_plotted():
    for section in sections()[:3]:
        assert ADVISED[section.device] in [scenario.name for scenario in section.scenarios]


def test_a_page_without_marks_is_named(tmp_path):
    page = tmp_path / "scaling.md"
    page.write_text("nothing\n")
    with pytest.raises(SystemExit, match="has no <!-- results -->"):
        report.write({"seed": 0, "changes": [], "sections": [], "parameters": []}, page)
