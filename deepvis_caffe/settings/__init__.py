"""The settings: the model, its input, where results go. One frozen object, from one Python file.

`Settings` validates and holds the values; `load_settings` finds and reads the file.
"""

from deepvis_caffe.settings.fields import Settings
from deepvis_caffe.settings.file import find_settings_file, load_settings

__all__ = ["Settings", "find_settings_file", "load_settings"]
