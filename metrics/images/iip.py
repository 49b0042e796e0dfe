"""The identifiability metrics as columns: the network and the size of the pool stand in the name."""

import re

_NAME = re.compile(r"iip_(?P<network>.+)_(?P<pool>\d+)(?P<label>_class)?")


def iip_name(network: str, pool: int, *, within_class: bool = False) -> str:
    """The metric's name.

    >>> iip_name("resnet18", 5000), iip_name("resnet18", 5000, within_class=True)
    ('iip_resnet18_5000', 'iip_resnet18_5000_class')
    """
    return f"iip_{network}_{pool}{'_class' if within_class else ''}"


def iip_meaning(name: str) -> str:
    """What a column of that name means; empty where it is no identifiability metric.

    >>> iip_meaning("iip_resnet18_5000")
    'share of images whose nearest of 5000 evaluation images is the original (features of resnet18)'
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        return ""
    among = "among those of their class, of" if parts["label"] else "of"
    pool = f"{among} {parts['pool']} evaluation images"
    return f"share of images whose nearest {pool} is the original (features of {parts['network']})"


def iip_title(name: str) -> str:
    """The name as tables show it; empty where it is no identifiability metric.

    >>> iip_title("iip_resnet18_5000_class")
    'IIP within class (resnet18)'
    """
    parts = _NAME.fullmatch(name)
    return "" if parts is None else f"IIP{' within class' if parts['label'] else ''} ({parts['network']})"
