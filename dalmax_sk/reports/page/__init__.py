"""Pages: one self-contained HTML file each, for a browser and for print."""

from dalmax_sk.reports.page.run_page import write_run_page

__all__ = ["write_run_page"]
