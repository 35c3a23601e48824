"""All rows, in the order they run. A new row is a class beside this file and one more line here."""

from scripts.bench.backends import KILOBYTE
from scripts.bench.rows.base import Row
from scripts.bench.rows.cold_start import ColdStartRow
from scripts.bench.rows.dashboard import DashboardRow
from scripts.bench.rows.idle import IdleRow
from scripts.bench.rows.load import DownloadRow, SmallRow, UploadRow
from scripts.bench.rows.many_backends import ManyBackendsRow
from scripts.bench.rows.memory import MemoryRow
from scripts.bench.rows.p99 import P99Row
from scripts.bench.rows.slow_backend import SlowBackendRow
from scripts.bench.rows.stalled import StalledRow
from scripts.bench.rows.tracked_ips import TrackedIpsRow
from scripts.bench.rows.workers import WorkersRow

ROWS: tuple[Row, ...] = (
    SmallRow("repeated", "small GET, one head repeated"),
    SmallRow("browser", "browser-size heads over 10,000 targets", script="browser.lua"),
    SmallRow("unique", "request heads that never repeat", script="unique.lua"),
    SmallRow(
        "unique_both",
        "heads that never repeat in either direction",
        path="/unique",
        script="unique.lua",
        never_repeats=True,
    ),
    SmallRow("1kb", "1 KB responses", path="/1kb", body=KILOBYTE),
    DownloadRow("1mb", "1 MB responses", "/1mb", connections=16),
    DownloadRow("10mb", "10 MB responses", "/10mb", connections=8),
    UploadRow("upload_10mb", "10 MB uploads", connections=8),
    P99Row(),
    IdleRow(),
    MemoryRow(),
    ManyBackendsRow(),
    SlowBackendRow(),
    TrackedIpsRow(),
    StalledRow(),
    WorkersRow(),
    DashboardRow(),
    ColdStartRow(),
)
SHORT_ROWS = ("repeated", "browser", "unique")
