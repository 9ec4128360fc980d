"""What is trained on: images as uint8 tensors, from whatever layout a user has."""

from ticket_sig.datasets.data import Dataset
from ticket_sig.datasets.load import load_dataset
from ticket_sig.datasets.registry import DATASETS, DatasetSpec

__all__ = ["DATASETS", "Dataset", "DatasetSpec", "load_dataset"]
