"""Packaging of Aegis: the console script, its runtime needs, the extras, and what may be compiled."""

import os
from pathlib import Path

from setuptools import Extension, find_packages, setup

HERE = Path(__file__).parent
VERSION = (HERE / "aegis" / "version.py").read_text().split('__version__ = "')[1].split('"')[0]

COMPILED = {
    ".": ["context", "reasons"],
    "http1": [
        "block", "chunked", "framing", "head_buffer", "llhttp", "memo", "request_head", "request_line", "response_head",
        "write",
    ],
    "net": ["deadlines", "outbox", "pace", "stream", "tls"],
    "wire": ["connection", "exchange", "request_body"],
    "security": ["forwarding", "headers", "validation"],
    "ratelimit": ["bucket", "layer", "limiter"],
    "proxy": ["app", "attempt", "body", "retry", "upload"],
    "pool": ["backend", "balancer", "breaker", "least_connections", "peak_ewma"],
    "process": ["breaker"],
    "metrics": ["counters", "window"],
    "logs": ["access", "access_line"],
}  # fmt: skip
"""Room → its modules that run for every request. Subclasses of foreign classes, gevent's or urllib3's, cannot be."""


def extensions() -> list[Extension]:
    """With AEGIS_COMPILE=1 the hot path as C, made by mypyc from the same source (docs/decisions/0008)."""
    if os.environ.get("AEGIS_COMPILE") != "1":
        return []
    from mypyc.build import mypycify

    paths = [HERE / "aegis" / room / f"{name}.py" for room, names in COMPILED.items() for name in names]
    return mypycify([str(path.relative_to(HERE)) for path in paths], opt_level="3", debug_level="0", group_name="aegis")


setup(
    name="aegis-proxy",
    version=VERSION,
    description="A strict, fast, adaptive reverse proxy for a pool of HTTP services",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    # Its default; but only where it is said an editable install is a path and no import hook, which takes 15 ms.
    package_dir={"": "."},
    packages=find_packages(include=["aegis", "aegis.*"]),
    package_data={"aegis": ["py.typed"]},
    # Below the prefix of the environment: `man aegis` and the completions work where that is on the search paths.
    data_files=[
        ("share/man/man1", ["conf/man/aegis.1"]),
        ("share/bash-completion/completions", ["conf/completions/aegis"]),
        ("share/zsh/site-functions", ["conf/completions/_aegis"]),
        ("share/fish/vendor_completions.d", ["conf/completions/aegis.fish"]),
    ],
    ext_modules=extensions(),
    install_requires=[
        "gevent>=26.9",
        "urllib3>=2.8,<3",
        "pyyaml>=6.0",
        "blessed>=1.52",
        "click>=8.1",
        "httptools>=0.9,<0.10",
        "msgspec>=0.22",
        "prometheus-client>=0.26",
    ],
    extras_require={
        "dev": [
            "build",
            "pytest>=9",
            "pytest-timeout",
            "pytest-cov",
            "hypothesis",
            "h11",
            "jsonschema",
            "pyte",
            "trustme",
            "ruff",
            "supervisor",
            "mypy>=2.4",
            "setuptools>=70.1",  # makes wheels by itself
            "types-gevent",
            "types-PyYAML",
            "websockets",
        ],
        "bench": ["aiohttp"],
    },
    entry_points={"console_scripts": ["aegis = aegis.__main__:main"]},
    classifiers=[
        "Environment :: Console",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Internet :: Proxy Servers",
    ],
)
