"""``python -m executorch_webgpu``."""

from .cli import main

main()
