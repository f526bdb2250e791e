"""How much is read from a file at most; listed in ``docs/limits.md``.

The size that a file claims is first compared with the file's length. These limits apply to its
real content, and to compressed content.
"""

from __future__ import annotations

MIB = 2**20

PROTOTXT = 64 * MIB  # bytes; the longest real ones have about 1 MiB
SETTINGS = 4 * MIB
LABELS = 64 * MIB
IMAGE_LIST = 2048 * MIB
PRESETS = 16 * MIB
RECORD = 64 * MIB  # bytes of a picture's JSON record; one of a thousand steps has 30 kB
ARRAY_FILE = 2048 * MIB  # bytes of a .npy or .binaryproto file
IMAGE_FILE = 1024 * MIB
DROPPED_IMAGE = 64 * MIB  # bytes of an image file that is dropped on the viewer's page
SCAN = 16384 * MIB  # bytes of all arrays of a scan

# The best ratio that deflate can reach: bytes of content for each byte of a compressed file.
COMPRESSION = 1032
BLOB_AXES = 32  # as in Caffe
LARGEST_SIZE = 2**31 - 1  # of one axis, as in Caffe

MEGAPIXELS = 100.0  # of an image, by default; the setting `max_megapixels`
LARGEST_MEGAPIXELS = 1073.0  # the most that OpenCV decodes, 2^30 pixels
JPEG_SCANS = 100  # a progressive JPEG has about ten; each passes over all pixels, for a few bytes
BYTES_PER_PIXEL = 8  # 16-bit RGBA; an image with more channels may have fewer pixels
SETTING_VALUES = 2**16  # numbers or names in one setting
LONGEST_SETTING = 2**20  # characters of one setting
