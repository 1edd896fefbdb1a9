"""From any collection of images to batches: sources -> packed set -> order of images.

Nothing here imports torch, so that packing and looking at data start at once. Each name is imported
when it is first used, because worker processes need only the decoders.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
