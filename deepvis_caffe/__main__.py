"""``python -m deepvis_caffe``: the same as the command `deepvis`."""

from deepvis_caffe.cli import main

if __name__ == "__main__":
    main()
