"""Tables of the user guide that benchmarks write, not people.

A page holds ``<!-- table: NAME -->``, the table and ``<!-- end -->``; the script that
measures writes what stands between.
"""

import re
from pathlib import Path

from dalmax_sk._base.files import write_text

GUIDE = Path(__file__).parents[1] / "docs" / "user_guide"


def with_block(text, name, table):
    """Return the text of a page with the table `name` written anew.

    Raises
    ------
    ValueError
        If the page has no such place, or more than one.
    """
    place = re.compile(
        rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL
    )
    if len(place.findall(text)) != 1:
        raise ValueError(
            f"The page must hold '<!-- table: {name} -->' ... '<!-- end -->' once, it "
            f"holds it {len(place.findall(text))} times."
        )
    return place.sub(lambda found: f"{found[1]}\n{table}\n\n{found[2]}", text)


def write_block(page, name, table):
    """Write the table `name` into a page of the user guide."""
    path = GUIDE / page
    write_text(path, with_block(path.read_text(encoding="utf-8"), name, table))
