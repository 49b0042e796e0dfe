"""Samples made by hand: what an attack or a control reached in each batch."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from gradinv.metrics.records.samples import Sample, sample_of


@pytest.fixture
def make_sample(make_record: Callable) -> Callable[..., Sample]:
    """`make_sample(attack, {metric: value of each batch}, ...)`: one image a batch; further words go to the record.

    A value None: not measured in that batch.
    """

    def make(attack: str, metrics: Mapping[str, Sequence[float | None]], **changes: object) -> Sample:
        records = []
        for batch, values in enumerate(zip(*metrics.values(), strict=True)):
            record = make_record(attack, batch, (0.0,), **changes)
            of_image = {name: value for name, value in zip(metrics, values, strict=True) if value is not None}
            images = [image.model_copy(update={"metrics": of_image}) for image in record.images]
            records.append(record.model_copy(update={"images": images}))
        return sample_of(records, "records")

    return make


@pytest.fixture
def make_controls(make_sample: Callable) -> Callable[..., dict[str, Sample]]:
    """`make_controls(name={metric: values}, ...)`: the controls of an attack by their names."""
    return lambda **controls: {name: make_sample(name, metrics, is_control=True) for name, metrics in controls.items()}
