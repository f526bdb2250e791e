"""How much is read of a file at most. ``docs/limits.md`` lists these numbers.

What a file claims to hold is compared with the file's own length first; these are for what a file
really holds, and for what is compressed in it.
"""

from __future__ import annotations

MIB = 2**20

PROTOTXT = 64 * MIB  # bytes; the longest in use have about 1 MiB
SETTINGS = 4 * MIB
LABELS = 64 * MIB
IMAGE_LIST = 2048 * MIB
PRESETS = 16 * MIB
RECORD = 64 * MIB  # bytes of a record beside a picture; one of a thousand steps has 30 kB
ARRAY_FILE = 2048 * MIB  # bytes of a .npy or .binaryproto file
IMAGE_FILE = 1024 * MIB
DROPPED_IMAGE = 64 * MIB  # bytes of an image file that a page sends
SCAN = 16384 * MIB  # bytes of all arrays of a scan

# A compressed file holds at most so many times its own length: what deflate can do at best.
COMPRESSION = 1032
BLOB_AXES = 32  # as in Caffe
LARGEST_SIZE = 2**31 - 1  # of one axis, as in Caffe

MEGAPIXELS = 100.0  # of an image, by default; the setting `max_megapixels`
LARGEST_MEGAPIXELS = 1073.0  # what OpenCV decodes at most, 2^30 pixels
JPEG_SCANS = 100  # a progressive JPEG has about ten; each passes over all pixels, for a few bytes
BYTES_PER_PIXEL = 8  # RGBA of 16 bits: an image of more channels may have fewer pixels
SETTING_VALUES = 2**16  # numbers or names in one setting
LONGEST_SETTING = 2**20  # characters of one setting
