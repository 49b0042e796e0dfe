from .base import (
    ArraySplit as ArraySplit,
    Dataset as Dataset,
    Normalisation as Normalisation,
    Role as Role,
    Split as Split,
    held_out_loaders as held_out_loaders,
    of_channels as of_channels,
)
from .batches import (
    Batch as Batch,
    draw_batch as draw_batch,
    draw_like as draw_like,
    mean_image as mean_image,
    public_images as public_images,
)
from .changes import Change as Change
from .decoding import read_image as read_image
from .folder import is_image_name as is_image_name
from .loose_folder import (
    LooseImages as LooseImages,
    find_images as find_images,
    loose_dataset as loose_dataset,
    loose_split as loose_split,
)
from .obtainable import OBTAINABLE as OBTAINABLE
from .recipes import (
    compared as compared,
    make as make,
    recipe_of as recipe_of,
)
from .registry import (
    DATASETS as DATASETS,
    DataError as DataError,
    checked_image_size as checked_image_size,
    create_dataset as create_dataset,
    dataset_names as dataset_names,
    register_dataset as register_dataset,
)
from .seeds import (
    random_state as random_state,
    seed_of as seed_of,
)
