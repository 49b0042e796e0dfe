from .agreement import (
    Agreement as Agreement,
    agreement_table as agreement_table,
    agreements as agreements,
)
from .compare import (
    FEWEST as FEWEST,
    Comparison as Comparison,
    adjusted as adjusted,
    compare_samples as compare_samples,
)
from .contrasts import (
    Contrast as Contrast,
    Contrasted as Contrasted,
    contrast_table as contrast_table,
    contrasted as contrasted,
)
from .findings import (
    Findings as Findings,
    findings_of as findings_of,
)
from .meetings import (
    find_key as find_key,
    in_words as in_words,
    nearest as nearest,
)
from .table import (
    comparison_rows as comparison_rows,
    print_findings as print_findings,
    write_comparison as write_comparison,
)
from .verdict import (
    counted as counted,
    verdict_line as verdict_line,
)
