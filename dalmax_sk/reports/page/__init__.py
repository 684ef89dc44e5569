"""Pages: one self-contained HTML file each, for a browser and for print."""

from dalmax_sk.reports.page.comparison_page import write_comparison_page
from dalmax_sk.reports.page.results_page import write_results_page
from dalmax_sk.reports.page.run_page import write_run_page

__all__ = ["write_comparison_page", "write_results_page", "write_run_page"]
