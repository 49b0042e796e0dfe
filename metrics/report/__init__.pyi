from .audit_page import (
    AuditPage as AuditPage,
    AuditRow as AuditRow,
    write_audit as write_audit,
)
from .boards_site import write_boards as write_boards
from .pages import Rerun as Rerun
from .site import (
    Extras as Extras,
    breakable as breakable,
    write_html as write_html,
)
