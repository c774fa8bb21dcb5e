"""What searches: Optuna on this machine, or Katib on the cluster."""

from pathlib import Path

from stocktake.cluster.connection import connect
from stocktake.cluster.images import cache_claim, train_image
from stocktake.devices import gpu_devices
from stocktake.tuning.katib_job import TrialPod
from stocktake.tuning.katib_search import search_on_katib
from stocktake.tuning.optuna_search import SearchResult, search
from stocktake.tuning.search_space import SearchSpace

ENGINES = ("optuna", "katib")


def search_with(
    engine: str,
    index_path: Path,
    space: SearchSpace,
    trials: int,
    workers: int,
    gpus: int,
    gpu_type: str,
) -> SearchResult:
    """Search the settings of the bin counter, without the final training.

    Args:
        engine: of ENGINES.
        index_path: a prepared index.
        space: what is searched.
        trials: in all; 0 = the space's number.
        workers: trials at a time.
        gpus: of this machine, or of each trial that is a Job.
        gpu_type: resource name of the latter.

    Raises:
        SettingsError, DataError, StoreError, ClusterError: as `search` and `search_on_katib` do.
    """
    if engine == "optuna":
        device = gpu_devices(gpus)
        return search(
            index_path, None, space, trials=trials or None, workers=workers, device=device, refit=False
        )
    pod = TrialPod(train_image(), gpus=gpus, gpu_type=gpu_type, cache_claim=cache_claim())
    return search_on_katib(connect(), index_path, None, space, pod, None, trials or None, workers)
