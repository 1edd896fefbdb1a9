"""The base class of what can be saved as a hub folder and pushed to the hub."""

from abc import ABC, abstractmethod
from pathlib import Path

import torch

from sagan.errors import SaganError
from sagan.hub.folder import hub_files, write_folder
from sagan.hub.names import PREFIX, parse_hub_name
from sagan.hub.upload import upload
from sagan.nn.base import GeneratorBase


class Publishable(ABC):
    """A trained model with a card, which can be saved as a hub folder and pushed to the hub."""

    card: str

    @abstractmethod
    def metadata(self) -> dict[str, str]:
        """Return what a file with this model's weights says of them, as text or JSON."""

    @abstractmethod
    def to_bytes(self, card: str = "") -> bytes:
        """Return the content of a model file, by default with the model's own card."""

    @abstractmethod
    def generator(self) -> GeneratorBase:
        """Return the averaged generator, ready to sample."""

    def save_pretrained(self, folder: str | Path, card: str = "", license: str = "") -> None:
        """Write the folder that the hub shows: model.safetensors, config.json and README.md.

        `load_generator(folder)` loads it, and `hf upload USER/NAME FOLDER` uploads it.

        Args:
            folder: missing, without files of these names, or an earlier such folder.
            card: a model card in Markdown; by default the model's own, or one from its settings.
            license: an identifier of the hub, such as "mit", for the card's metadata.

        Raises:
            SaganError: the folder cannot be written or has other files of these names, or the
                license is not an identifier.
        """
        folder = Path(folder)
        reference = f"./{folder.resolve().name}"
        write_folder(folder, self._hub_files(card, license, reference))

    def push_to_hub(
        self, name: str, card: str = "", license: str = "", private: bool = False
    ) -> str:
        """Push the model to the Hugging Face hub, and return the address of its page.

        `load_generator("hf:USER/NAME")` loads it. The token is the one of `hf auth login`, or
        $HF_TOKEN.

        Args:
            name: USER/NAME; the model is created if it does not exist.
            card: as for `save_pretrained`.
            license: likewise.
            private: create it private, or refuse to push to a public one.

        Raises:
            SaganError: the user is not signed in or may not write there, the hub does not answer,
                or as for `save_pretrained`.
        """
        target = parse_hub_name(name)
        if "@" in name:
            raise SaganError(f"models are pushed to the main branch: leave out '@' in '{name}'")
        return upload(target, self._hub_files(card, license, PREFIX + target.repo), private)

    def _hub_files(self, card: str, license: str, reference: str) -> dict[str, bytes]:
        weights = self.to_bytes(card)
        return hub_files(self.metadata(), weights, card or self.card, license, reference)

    def check_unchanged(self, generator: GeneratorBase) -> None:
        """Check that a generator still has this model's averaged weights.

        Raises:
            SaganError: it has others: its own were changed, or are the raw ones.
        """
        own = self.generator().state_dict()
        for name, tensor in generator.state_dict().items():
            if not torch.equal(own[name], tensor.cpu()):
                raise SaganError(
                    f"the generator's {name} differs from the model's averaged weights, which "
                    "would be saved: load it with weights='ema' and do not change it"
                )
