from .base import (
    ArraySplit as ArraySplit,
    Dataset as Dataset,
    Normalisation as Normalisation,
    Split as Split,
    held_out_loaders as held_out_loaders,
)
from .batches import (
    Batch as Batch,
    draw_batch as draw_batch,
    draw_like as draw_like,
    mean_image as mean_image,
)
from .registry import (
    DATASETS as DATASETS,
    DataError as DataError,
    create_dataset as create_dataset,
    dataset_names as dataset_names,
    register_dataset as register_dataset,
)
from .seeds import seed_of as seed_of
