from . import (
    boards as boards,
    compare as compare,
    iip as iip,
    labels as labels,
    look as look,
    run as run,
    train as train,
)
