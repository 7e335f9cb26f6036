"""Reports: figures, tables and one self-contained HTML page from a run folder.

matplotlib is an optional dependency (`pip install 'base-fast[report]'`); it is imported when the first figure is drawn.
"""

from __future__ import annotations

from base_fast.reports.cells import draw_genotype
from base_fast.reports.report import write_report
from base_fast.reports.tables import ResultTable, print_table, to_markdown

__all__ = ["ResultTable", "draw_genotype", "print_table", "to_markdown", "write_report"]
