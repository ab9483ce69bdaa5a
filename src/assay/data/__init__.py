"""Data sets: named ones, folders of class folders, `.npz` files."""

from assay.data.dataset import Dataset

__all__ = ["Dataset"]
