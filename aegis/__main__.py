"""The entry point: patches gevent before anything else is imported, then hands over to the command line."""

from gevent import monkey

monkey.patch_all()

from aegis.cli import main  # noqa: E402 - nothing may be imported before the patch

__all__ = ["main"]

if __name__ == "__main__":
    main()
