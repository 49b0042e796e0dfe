from .base import (
    Dataset as Dataset,
    Normalisation as Normalisation,
    Split as Split,
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
)
from .seeds import seed_of as seed_of
