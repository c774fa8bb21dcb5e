"""This machine: whether it can train, test and serve."""

import os
import platform
import re
import shutil
import socket
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path

from stocktake.cluster.images import check_image, train_image
from stocktake.doctor.finding import Finding, fail, ok, warn
from stocktake.doctor.services import ANSWER_TIMEOUT_S
from stocktake.errors import SettingsError
from stocktake.mlflow_server import DEFAULT_URI
from stocktake.settings import load_settings
from stocktake.storage import open_store

PYTHONS = ((3, 11), (3, 12))
GIB = 1 << 30
DISK_LEAST, DISK_ENOUGH = 2 * GIB, 20 * GIB
MEMORY_ENOUGH = 8 * GIB
SHM_ENOUGH = 1 * GIB
PORTS = (8080, 8081)  # of the predictors: REST, gRPC
SERVICES = Path(".services/bin")  # where `make services` puts what tests drive
TEST_PROGRAMS = ("minio", "redis-server", "chromium", "etcd", "kube-apiserver", "kustomize")
CONSTRAINTS = Path("constraints.txt")


def python() -> Finding:
    """Whether Python is a version that we install on, in an environment of its own."""
    found = f"{platform.python_version()} in {sys.prefix}"
    if sys.version_info[:2] not in PYTHONS:
        return fail(found, "`make setup` with Python 3.11")
    return (
        ok(found)
        if sys.prefix != sys.base_prefix
        else warn(f"{found}, no environment of its own", "make setup")
    )


def packages() -> Finding:
    """Whether the packages that are installed have the versions of constraints.txt."""
    if not CONSTRAINTS.is_file():
        return warn(f"no {CONSTRAINTS} here", "run this in the root of the checkout")
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", CONSTRAINTS.read_text(), re.MULTILINE))
    there = {_normal(each.name): each.version for each in distributions()}
    other = [
        f"{name} {there[_normal(name)]}, not {pin}"
        for name, pin in pins.items()
        if there.get(_normal(name), pin) != pin
    ]
    if other:
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        return warn(f"{', '.join(other[:3])}{more}", f"pip install -c {CONSTRAINTS} -e '.[dev]'")
    return ok(f"{sum(_normal(name) in there for name in pins)} packages have the versions of {CONSTRAINTS}")


def disk() -> Finding:
    """Whether the cache has room for photos."""
    place = load_settings().cache
    free = shutil.disk_usage(next(each for each in (place, *place.absolute().parents) if each.exists())).free
    found = f"{free / GIB:.0f} GiB free for {place}"
    if free >= DISK_ENOUGH:
        return ok(found)
    mend = "free some space, or set STOCKTAKE_CACHE to a larger disk"
    return warn(found, mend) if free >= DISK_LEAST else fail(found, mend)


def memory() -> Finding:
    """Whether there is memory, and a /dev/shm through which data loaders pass batches."""
    [kib] = re.findall(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())
    available = int(kib) * 1024
    shared = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0
    cores = len(os.sched_getaffinity(0))
    found = f"{available / GIB:.1f} GiB free, {shared / GIB:.1f} GiB of /dev/shm, {cores} cores"
    if available < MEMORY_ENOUGH:
        return warn(found, "train with a smaller batch and no --cache")
    return (
        ok(found)
        if shared >= SHM_ENOUGH
        else warn(found, "fewer processes load photos; docker run --shm-size 8g")
    )


def gpu() -> Finding:
    """Whether there are GPUs to train on."""
    try:
        import pynvml

        pynvml.nvmlInit()
        names = [
            pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(i))
            for i in range(pynvml.nvmlDeviceGetCount())
        ]
    except ImportError:
        return warn("cannot look for GPUs without nvidia-ml-py", "pip install -e '.[train]'")
    except pynvml.NVMLError as error:
        return warn(f"no GPU that can be used ({error}): trainings run on the CPU")
    return ok(", ".join(map(str, names)))


def store() -> Finding:
    """Whether the store of runs on this machine can be used; a folder is tried, a bucket only listed."""
    settings = load_settings(s3_retries=0)
    if "://" in settings.store:
        next(iter(open_store(settings.store, settings).list("models/")), None)
        return ok(f"{settings.store} can be listed")
    folder = Path(settings.store)
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            return ok(f"{folder} can be written")
    except OSError as error:
        return fail(f"{there} cannot be written ({error.strerror})", "set STOCKTAKE_STORE to another place")


def mlflow() -> Finding:
    """Whether MLflow is where runs on this machine look for it."""
    import urllib3

    uri = load_settings().mlflow_tracking_uri or DEFAULT_URI
    if not uri.startswith("http"):
        return ok(f"{uri}, no server needed")
    path = f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1"
    try:
        status = urllib3.request("GET", path, timeout=ANSWER_TIMEOUT_S, retries=False).status
    except urllib3.exceptions.HTTPError as error:
        return fail(f"MLFLOW_TRACKING_URI {uri} does not answer ({error})", "start it, or unset the variable")
    return (
        ok(f"{uri} answers")
        if status == 200
        else fail(f"{uri} answered {status}", "mend MLFLOW_TRACKING_URI")
    )


def ports() -> Finding:
    """Whether a predictor can be started here with its usual ports."""
    taken = []
    for port in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                taken.append(str(port))
    if taken:
        return warn(f"port {' and '.join(taken)} is taken", "give predictors --http_port and --grpc_port")
    return ok(f"{' and '.join(map(str, PORTS))} are free")


def services() -> Finding:
    """Whether the programs that tests drive are there; tests of absent ones are skipped."""
    absent = [name for name in TEST_PROGRAMS if not (SERVICES / name).is_file() and not shutil.which(name)]
    if absent:
        return warn(f"no {', '.join(absent)}: their tests are skipped", "make services")
    return ok(", ".join(TEST_PROGRAMS))


def programs() -> Finding:
    """Whether kubectl and helm are there to install with."""
    absent = [name for name in ("kubectl", "helm") if not shutil.which(name)]
    return (
        warn(f"no {' and no '.join(absent)}", "install them to follow docs/install.md")
        if absent
        else ok("kubectl, helm")
    )


def image() -> Finding:
    """Whether pipelines would be compiled with a training image that does not move."""
    name = train_image()
    try:
        check_image(name)
    except SettingsError as error:
        return fail(str(error))
    return ok(name)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
