from .run import infer_labels_of as infer_labels_of
