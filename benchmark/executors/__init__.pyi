from .jobs import (
    Job as Job,
    execute as execute,
    in_order as in_order,
    jobs_of as jobs_of,
    run_here as run_here,
)
from .on_ray import (
    RayActors as RayActors,
    ray_cluster as ray_cluster,
)
from .on_slurm import run_on_slurm as run_on_slurm
from .store import Store as Store
from .worker_processes import WorkerProcesses as WorkerProcesses
from .workers import run_in_workers as run_in_workers
