from .run import infer_labels_of as infer_labels_of
from .setting import LabelSetting as LabelSetting
