"""How the application runs: places, hosts and limits. Nothing here changes a number that it shows."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path

MEGABYTE = 1 << 20
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""Names of this machine by itself: a page elsewhere cannot point them at another one."""


@dataclass(frozen=True)
class Settings:
    """Settings of one server."""

    results: Path = Path("results")
    """Folder of the pipeline's results; jobs and uploaded models go into its folder `web`."""
    hosts: tuple[str, ...] = LOOPBACK
    """Host names under which the pages may be asked for."""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    """What programs that are not browsers show with their requests that change something."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:1."""
    queue: int = 32
    """Jobs that may wait."""
    streams: int = 4
    """Pages that may follow a job live at the same time; others ask now and then. Browsers keep six connections to a server at
    most, in all windows together: were all of them streams, no page would load any more."""
    models: int = 2
    """Models kept ready in memory."""
    image_bytes: int = 10 * MEGABYTE
    """Largest image file."""
    zip_bytes: int = 100 * MEGABYTE
    """Largest zip of images."""
    model_bytes: int = 600 * MEGABYTE
    """Largest file of weights."""

    @property
    def own(self) -> Path:
        """Where the application keeps its files."""
        return self.results / "web"
