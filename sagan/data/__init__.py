"""From any collection of pictures to batches: sources -> packed set -> order of images.

Nothing here imports torch: packing and looking at data must start at once. Each name is imported
when it is first used, because worker processes need only what decodes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
