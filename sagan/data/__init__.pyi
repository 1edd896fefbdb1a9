from .batches import BatchOrder as BatchOrder
from .cache import open_dataset as open_dataset
from .info import DatasetInfo as DatasetInfo
from .info import Spread as Spread
from .info import describe as describe
from .packed import PackedDataset as PackedDataset
from .packed import fingerprint_of as fingerprint_of
from .packing import pack as pack
