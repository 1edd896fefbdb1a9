"""Push a model's files to the hub."""

from collections.abc import Mapping

from sagan._version import __version__
from sagan.errors import SaganError
from sagan.hub.errors import endpoint, hub_reason
from sagan.hub.names import LIBRARY_NAME, HubName


def upload(target: HubName, files: Mapping[str, bytes], private: bool) -> str:
    """Push files to a model on the hub in one commit, and return the address of its page.

    The model is created if it does not exist. Files of the same names are replaced; the hub keeps
    their earlier versions.

    Args:
        target: the model; its revision is not used, since the hub shows its main branch.
        files: {name: content}.
        private: create it private, or refuse to push to a public one.

    Raises:
        SaganError: the user is not signed in or may not write there, the hub does not answer or
            refuses a file, or the model is public and should be private.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token

    if constants.is_offline_mode():
        raise SaganError("HF_HUB_OFFLINE is set: unset it to push a model")
    if not get_token():
        raise SaganError(
            "pushing a model needs a token of the hub that may write: sign in with 'hf auth "
            "login', or set HF_TOKEN"
        )
    api = HfApi(library_name=LIBRARY_NAME, library_version=__version__)
    additions = [CommitOperationAdd(name, content) for name, content in files.items()]
    try:
        api.create_repo(target.repo, private=private or None, exist_ok=True)
        public = private and not api.model_info(target.repo).private
        if not public:
            api.create_commit(target.repo, additions, commit_message="Push a model of torch-sagan")
    except Exception as error:  # the hub's own, the network's, a refused file
        raise SaganError(
            f"cannot push to '{target.repo}' at {endpoint()} ({hub_reason(error)}): check the "
            "name, the network, and that your token may write there ('hf auth whoami')"
        ) from None
    page = f"{endpoint()}/{target.repo}"
    if public:
        raise SaganError(f"{page} is public: make it private there, or leave out --private")
    return page
