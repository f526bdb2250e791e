"""Which model, how to feed it, and where results go: one frozen object, from one Python file.

`Settings` holds and checks the values; `load_settings` finds the file and reads it.
"""

from deepvis_caffe.settings.fields import Settings
from deepvis_caffe.settings.file import find_settings_file, load_settings

__all__ = ["Settings", "find_settings_file", "load_settings"]
