from .additions import (
    Additions as Additions,
    add as add,
)
from .cells import (
    BLIND_GRADIENTS as BLIND_GRADIENTS,
    Address as Address,
    address_of as address_of,
    attacks_of as attacks_of,
    belongs_to as belongs_to,
    candidates_of as candidates_of,
    cell_of_key as cell_of_key,
    controls_of as controls_of,
    ordered as ordered,
)
from .column import Column as Column
from .files import (
    fault_in_words as fault_in_words,
    read_file as read_file,
    require_file as require_file,
    require_folder as require_folder,
    short_name as short_name,
    write_csv as write_csv,
    write_tensors as write_tensors,
    write_text as write_text,
)
from .identity import (
    differing_fields as differing_fields,
    row_identity as row_identity,
    trial_id as trial_id,
)
from .layout import (
    RunDirectory as RunDirectory,
    trial_ids as trial_ids,
)
from .pictures import (
    IMAGES_SHOWN as IMAGES_SHOWN,
    SPREAD_GAIN as SPREAD_GAIN,
    BatchSlot as BatchSlot,
    PictureFolder as PictureFolder,
    Pictures as Pictures,
    first_images as first_images,
    read_tensors as read_tensors,
    shown_tensors as shown_tensors,
)
from .plugins import (
    plugins_in_words as plugins_in_words,
    remember as remember,
)
from .reading import (
    RecordsError as RecordsError,
    batch_mean as batch_mean,
    batch_means as batch_means,
    batch_values as batch_values,
    image_metrics as image_metrics,
    is_newer as is_newer,
    mean as mean,
    metric_names as metric_names,
    read_record as read_record,
    read_records as read_records,
    trials_by_cell as trials_by_cell,
)
from .record import (
    CLOSED_FORM as CLOSED_FORM,
    FINISHED as FINISHED,
    LOST as LOST,
    SCORED as SCORED,
    Cell as Cell,
    ImageScore as ImageScore,
    Measured as Measured,
    Record as Record,
    State as State,
)
from .samples import (
    Sample as Sample,
    Unit as Unit,
    Values as Values,
    controls_for as controls_for,
    numbered as numbered,
    pooled as pooled,
    sample_means_by_images as sample_means_by_images,
    sample_of as sample_of,
    samples_of as samples_of,
)
from .selection import selected as selected
from .settings import (
    BATCH_SIZE_FIELDS as BATCH_SIZE_FIELDS,
    IDENTITY as IDENTITY,
    LATER as LATER,
    LATER_WORDS as LATER_WORDS,
    SETTING as SETTING,
    Setting as Setting,
    by_setting as by_setting,
    granted as granted,
    setting_of as setting_of,
    slug as slug,
    title as title,
    unusual as unusual,
    varying as varying,
    wrap_key as wrap_key,
)
from .utility_table import (
    UTILITY_TABLE as UTILITY_TABLE,
    Place as Place,
    Prices as Prices,
    read_prices as read_prices,
    utility_place as utility_place,
)
from .validation import checksums as checksums
