"""Thumbnails inside the page, and the files that they are made from."""

import html
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from dalmax_sk._base.files import inside
from dalmax_sk.images import ImageReadError, common_image_size, decode_image
from dalmax_sk.reports.page.markup import data_uri

__all__ = ["MissingImage", "RunImages", "Thumbnail", "thumbnail"]

# Images up to this side are icons: their pixels are kept, and enlarged by the browser.
_TINY = 40
_JPEG_QUALITY = 80

# An image as contact_sheets writes it; nothing but an image may come from an old page.
_IMAGE = re.compile(
    r'<img src="(?P<uri>data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+)" '
    r'alt="(?P<alt>[^"]*)" width="(?P<width>\d{1,4})" height="(?P<height>\d{1,4})"'
    r'(?P<tiny> class="tiny")?'
)


@dataclass(frozen=True)
class Thumbnail:
    """A small image as text.

    Attributes
    ----------
    uri : str
        ``data:`` address.
    width, height : int
        In pixels, at most the side asked for.
    is_tiny : bool
        Whether these are the pixels of a very small image.
    """

    uri: str
    width: int
    height: int
    is_tiny: bool


@dataclass(frozen=True)
class MissingImage:
    """An image that cannot be shown.

    Attributes
    ----------
    reason : str
        A few words.
    """

    reason: str


def thumbnail(path: Path, side: int) -> Thumbnail:
    """Read an image file and make it fit into a square.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    side : int
        Side of the square, in pixels. A smaller image keeps its size.

    Returns
    -------
    Thumbnail

    Raises
    ------
    ImageReadError
        If the file is not there or no image.
    """
    height, width = common_image_size([path])
    scale = min(1.0, side / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    image = Image.fromarray(decode_image(path, image_size=size))
    buffer = io.BytesIO()
    is_tiny = max(size) <= _TINY
    if is_tiny:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    uri = data_uri(f"image/{'png' if is_tiny else 'jpeg'}", buffer.getvalue())
    return Thumbnail(uri, size[1], size[0], is_tiny)


class RunImages:
    """The images of a run, found by their entries in ``run.json``.

    Parameters
    ----------
    directory : pathlib.Path
        The run's folder.
    run : dict
        Content of ``run.json``.

    Attributes
    ----------
    n_loaded : int
        Thumbnails given out so far.
    n_bytes : int
        Their size in the page.
    """

    def __init__(self, directory: Path, run: Mapping[str, Any]) -> None:
        self._directory = directory
        self._train = Path(run["data"]["train"]["directory"])
        self._copies = {
            pick["row"]: pick["copy"]
            for entry in run["rounds"]
            for pick in entry["picked"]
            if "copy" in pick
        }
        self._known: dict[tuple[Path, int], Thumbnail | MissingImage] = {}
        self._before: dict[str, Thumbnail] | None = None
        self.n_loaded = 0
        self.n_bytes = 0

    def pick(self, pick: Mapping[str, Any], side: int) -> Thumbnail | MissingImage:
        """Return a picked image, from its copy in the run's folder."""
        if "copy" not in pick:
            return MissingImage("run.json names no copy of this image")
        return self._load_copy(pick["copy"], side)

    def labelled(
        self, nearest: Mapping[str, Any], side: int
    ) -> Thumbnail | MissingImage:
        """Return a labelled image: the copy of an earlier pick, or the original."""
        if nearest["row"] in self._copies:
            return self._load_copy(self._copies[nearest["row"]], side)
        reason = "no longer in the training folder"
        return self._load(self._train, nearest["file"], side, reason, follow_links=True)

    def shown_before(self, alt: str) -> Thumbnail | None:
        """Return an image of the page that is there already, by its description.

        A run that was moved without its training folder keeps what its page showed.
        """
        if self._before is None:
            page = self._directory / "report.html"
            text = page.read_text("utf-8", "replace") if page.is_file() else ""
            self._before = {
                html.unescape(found["alt"]): Thumbnail(
                    found["uri"],
                    int(found["width"]),
                    int(found["height"]),
                    found["tiny"] is not None,
                )
                for found in _IMAGE.finditer(text)
            }
        image = self._before.get(alt)
        if image is not None:
            self.n_loaded += 1
            self.n_bytes += len(image.uri)
        return image

    def _load_copy(self, name: str, side: int) -> Thumbnail | MissingImage:
        reason = "copy removed from selected_images"
        return self._load(self._directory, name, side, reason)

    def _load(
        self,
        folder: Path,
        name: str,
        side: int,
        if_missing: str,
        follow_links: bool = False,
    ) -> Thumbnail | MissingImage:
        try:
            path = inside(folder, name, follow_links=follow_links)
        except ValueError:
            return MissingImage("the name leads out of the run's folders")
        if (path, side) not in self._known:
            self._known[path, side] = _thumbnail_or_reason(path, side, if_missing)
        found = self._known[path, side]
        if isinstance(found, Thumbnail):
            self.n_loaded += 1
            self.n_bytes += len(found.uri)
        return found


def _thumbnail_or_reason(
    path: Path, side: int, if_missing: str
) -> Thumbnail | MissingImage:
    if not path.is_file():
        return MissingImage(if_missing)
    try:
        return thumbnail(path, side)
    except ImageReadError as error:
        return MissingImage(f"cannot be read: {error.failures[0][1]}")
