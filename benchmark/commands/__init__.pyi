from . import (
    attack as attack,
    boards as boards,
    check as check,
    compare as compare,
    identify as identify,
    labels as labels,
    look as look,
    run as run,
    train as train,
    tune as tune,
)
