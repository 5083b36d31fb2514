"""Released weights by one string: ``hf:torch-pointcloud/point-mae-base.modelnet40.yatian-pang``.

The organisation ``torch-pointcloud`` keeps converted copies of released checkpoints on the
Hugging Face hub: one repository each, with ``model.safetensors`` and a model card that names
the licence. They are downloaded by ``huggingface_hub`` (extra ``share``), which keeps them.
"""

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from pointinteract.exceptions import CheckpointError
from pointinteract.utils._optional import import_optional

__all__ = ["HubWeights", "fetch_weights", "is_hub_reference"]

PREFIX = "hf:"
WEIGHTS = "model.safetensors"
ORGANISATION = "torch-pointcloud"
logger = logging.getLogger(__name__)

# Our system by how the repository's name begins; the first that fits holds.
_SYSTEMS = (
    (r"act\b", "act"),
    (r"dgcnn\.modelnet40", "dgcnn"),
    (r"point-bert", "point_bert"),
    (r"point-m2ae", "point_m2ae"),
    (r"point-mae", "point_mae"),
    (r"pcp-mae", "point_mae"),  # the same networks, pre-trained otherwise
    (r"pointgpt", "point_gpt"),
    (r"pointmlp-elite", "pointmlp_elite"),
    (r"pointmlp", "pointmlp"),
    (r"pointnet2-msg\.modelnet40", "pointnet2_msg"),
    (r"pointnet2-ssg\.modelnet40", "pointnet2_ssg"),
    (r"pointnext-sm-c64\.modelnet40", "pointnext_s_c64"),
    (r"pointnext-sm\.scanobjectnn", "pointnext_s"),
    (r"recon\b", "recon"),
)
# Commits that are known, and sizes that tensors do not tell and that are not the usual ones.
_KNOWN: dict[str, tuple[str, dict[str, int]]] = {
    "dgcnn.modelnet40-1024.an-tao": ("93b81edc579fde6ef6240c805fc2610298af738f", {}),
    "dgcnn.modelnet40-2048.an-tao": ("6c428e23b4299afe7dee588c0b7d442827657699", {"k": 40}),
    "point-bert-base.dvae.xumin-yu": ("ef1dfc2e5de122dea5a85c950ec863f93e5b940e", {}),
    "point-bert-base.modelnet40-4k.xumin-yu": (
        "659ad7361e9aa83641b5c9eb86a4aebe0dbc1974", {"num_group": 256}
    ),
    "point-bert-base.modelnet40-8k.xumin-yu": (
        "eb0e09720f8f25ddc759715c88b6a5e89a61aa50", {"num_group": 512}
    ),
    "point-bert-base.modelnet40.xumin-yu": ("84d8db5edaba5cf45f77fc1485aa5a1f59d5fb0f", {}),
    "point-bert-base.pretrain.xumin-yu": ("d9e0a98afbeb66e1fa465e89687132fe2eb434dd", {}),
    "point-bert-base.scanobjectnn-hardest.xumin-yu": (
        "c24e44cf95da3a813de37633dae52d99e6fcb31a", {}
    ),
    "point-bert-base.scanobjectnn-objbg.xumin-yu": (
        "5743a6dd88200b6f333634044bbb06b5960af935", {}
    ),
    "point-bert-base.scanobjectnn-objonly.xumin-yu": (
        "08db072b75a497ca99cde4d2769a471d518559cc", {}
    ),
    "point-m2ae-base.modelnet40.renrui-zhang": ("9714c2f0cf785c65c3fbec0ba1898a37a34166b6", {}),
    "point-m2ae-base.pretrain.renrui-zhang": ("8e22a423991a9a5c4be3f53d52d8e598239d10b9", {}),
    "point-m2ae-base.scanobjectnn-hardest.renrui-zhang": (
        "f745262b83c9cae12a25b1c2bea5fe0ae0fbea8f", {}
    ),
    "point-m2ae-base.scanobjectnn-objbg.renrui-zhang": (
        "0f840eb0a37ab8c62076d2cf8e668fd26c444968", {}
    ),
    "point-mae-base.modelnet40-8k.yatian-pang": (
        "3ed87566031344c329c7583123e31d7a5ef4e727", {"num_group": 512}
    ),
    "point-mae-base.modelnet40.yatian-pang": ("5e6a6427246e989894f1013a13ed60c49e9e560d", {}),
    "point-mae-base.pretrain.yatian-pang": ("29921d9f3f4eb70ef01ade99a9534af7022c3648", {}),
    "point-mae-base.scanobjectnn-hardest.yatian-pang": (
        "de280eb1fbeb793baa540255e398cc7b2d5d2a77", {"num_group": 128}
    ),
    "point-mae-base.scanobjectnn-objbg.yatian-pang": (
        "73ca8f4bedee155de72a7fbed4159aaa8d69f8db", {"num_group": 128}
    ),
    "point-mae-base.scanobjectnn-objonly.yatian-pang": (
        "9c008ef507144f3816a31556c06ab6da47ca00fa", {"num_group": 128}
    ),
    "pointgpt-b.modelnet40-8k.guangyan-chen": (
        "c6733a50218d08eea8cbb6762e341fdffd9de15c", {"num_group": 512}
    ),
    "pointgpt-b.modelnet40.guangyan-chen": ("a2d43e7f4908c4e283093b9e915eb96c38e5c7b9", {}),
    "pointgpt-b.pretrain.guangyan-chen": ("7390bc297925d3c241653bddaa9143edf20cc2d8", {}),
    "pointgpt-b.scanobjectnn-hardest.guangyan-chen": (
        "ed7090c0e874c4ce1b5eca3ba6f355fea16a4352", {"num_group": 128}
    ),
    "pointgpt-b.scanobjectnn-objbg.guangyan-chen": (
        "a7b3e7aef3ba9811c77c47ff55665c89d72478c1", {"num_group": 128}
    ),
    "pointgpt-b.scanobjectnn-objonly.guangyan-chen": (
        "5b25ad63177fdd529f6b3973b93d39791e769213", {"num_group": 128}
    ),
    "pointgpt-l.modelnet40-8k.guangyan-chen": (
        "7c3dbde3ff917c1d5e1a6c438bb5796d34712a83", {"num_group": 512}
    ),
    "pointgpt-l.modelnet40.guangyan-chen": ("9e399ab55593cad42e459c15077b51e1b0538e6b", {}),
    "pointgpt-l.pretrain.guangyan-chen": ("0e83640c82e6b6e742ee9be4bf657cb064f49efa", {}),
    "pointgpt-l.scanobjectnn-hardest.guangyan-chen": (
        "529649f41803c2814905395f03ad0e4ac3968545", {"num_group": 128}
    ),
    "pointgpt-l.scanobjectnn-objbg.guangyan-chen": (
        "6e121e2b249f836723177963c14d374923d56a4c", {"num_group": 128}
    ),
    "pointgpt-l.scanobjectnn-objonly.guangyan-chen": (
        "87946ac32f65aa89ca7075844d74c51f3f60a76a", {"num_group": 128}
    ),
    "pointgpt-s.modelnet40-8k.guangyan-chen": (
        "55852773fae4adb4e1ddb2fa507c67dd5ced97e9", {"num_group": 512}
    ),
    "pointgpt-s.modelnet40.guangyan-chen": ("d5d3b80eb846df24051dc753cd9187d2b369f7f7", {}),
    "pointgpt-s.pretrain.guangyan-chen": ("60f2989ead639ac920878c2d4cd467f36fbe6584", {}),
    "pointgpt-s.scanobjectnn-hardest.guangyan-chen": (
        "27fb50b626547e92252f9caf61fca7fa39a5a7a3", {"num_group": 128}
    ),
    "pointgpt-s.scanobjectnn-objbg.guangyan-chen": (
        "391f078316a4fb24d54d805df280fb86eb6945b6", {"num_group": 128}
    ),
    "pointgpt-s.scanobjectnn-objonly.guangyan-chen": (
        "ccfdb72ef5c8bc365cba1b857e2e30551cc56fb3", {"num_group": 128}
    ),
    "pointmlp-base.modelnet40.xu-ma": ("83c919b3592393cd8ba12cf7e6857c7fb96c60ba", {}),
    "pointmlp-base.scanobjectnn-hardest.xu-ma": ("5c8c2acdca18e18201953a4e947ba3cd0290257a", {}),
    "pointmlp-elite.modelnet40.xu-ma": ("6722e099f5b988d1f974b792f5e7e9c2fad856bd", {}),
    "pointmlp-elite.scanobjectnn-hardest.xu-ma": (
        "ceb928e762abb1e184025000ed1d8ef0d7f0b6f2", {}
    ),
    "pointnet2-msg.modelnet40.xu-yan": ("de5d7c956fbc98db33e46d990adcdcdd7525c7e4", {}),
    "pointnet2-ssg.modelnet40.xu-yan": ("9e1021fc09c3cfc2abc4072dcf1e970e0ea18c97", {}),
    "pointnext-sm-c64.modelnet40.openpoints": ("838213c747915b022feb4c86d76138fb389abf79", {}),
    "pointnext-sm.scanobjectnn-hardest.openpoints": (
        "0ca7595e2f74548d51037ad82e2bd10f5fd13921", {}
    ),
}
_REFERENCE = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?")


@dataclass(frozen=True)
class HubWeights:
    """A file of weights and where it came from."""

    path: str
    repository: str
    revision: str  # the commit, in full
    license: str | None  # as the model card says
    system: str | None  # None: not one of those whose copies are known
    sizes: dict[str, int]  # what its tensors do not tell

    def describe(self) -> str:
        """One line for people."""
        return (
            f"https://huggingface.co/{self.repository}/tree/{self.revision} "
            f"(licence: {self.license or 'not stated, see its model card'})"
        )


def is_hub_reference(checkpoint: object) -> bool:
    """Whether this is written ``hf:organisation/name`` or ``hf:organisation/name@revision``."""
    return isinstance(checkpoint, str) and checkpoint.startswith(PREFIX)


def fetch_weights(reference: str) -> HubWeights:
    """Download the weights that a reference names, unless they are in the hub's cache.

    Parameters
    ----------
    reference : str
        ``"hf:organisation/name"``, or with ``"@revision"`` (a commit, tag or branch). Without
        one, the commit that we know of is taken, so that the same string gives the same
        weights; of a repository that we do not know, the branch ``main``, with a warning.

    Raises
    ------
    CheckpointError
        If the reference is misspelt, or there is no such file.
    """
    found = _REFERENCE.fullmatch(reference)
    if not found:
        raise CheckpointError(
            f"{reference!r} is no reference to the hub; write hf:organisation/name, such as "
            f"hf:{ORGANISATION}/point-mae-base.modelnet40.yatian-pang, or with @revision after it."
        )
    repository = found["repository"]
    organisation, name = repository.split("/")
    commit: str | None = None
    sizes: dict[str, int] = {}
    if organisation == ORGANISATION and name in _KNOWN:
        commit, sizes = _KNOWN[name]
    revision = found["revision"] or commit or "main"
    path = _download(repository, WEIGHTS, revision)
    taken = Path(path).parent.name  # the hub's cache keeps each commit in a folder of its name
    weights = HubWeights(
        path=path,
        repository=repository,
        revision=taken,
        license=_license_of(repository, taken),
        system=system_of(name),
        sizes=dict(sizes),
    )
    if revision == "main":
        logger.warning(
            "%s may change; write %s%s@%s to get the same weights again.",
            reference, PREFIX, repository, taken,
        )
    logger.info("weights of %s", weights.describe())
    return weights


def system_of(name: str) -> str | None:
    """Our system by the name of a copy; None if it says none that is known."""
    return next((ours for pattern, ours in _SYSTEMS if re.match(pattern, name)), None)


def _download(repository: str, file: str, revision: str) -> str:
    hub = import_optional(
        "huggingface_hub", extra="share", purpose="weights from the Hugging Face hub"
    )
    try:
        return hub.hf_hub_download(
            repository, file, revision=revision, endpoint=os.environ.get("HF_ENDPOINT")
        )
    except (OSError, ValueError) as error:  # not found, no network, broken off
        text = str(error).strip().splitlines()
        raise CheckpointError(
            f"{file} of {PREFIX}{repository}@{revision} could not be had "
            f"({type(error).__name__}: {text[0] if text else 'no further word'}). Is the name "
            "right, and is there a network? What was downloaded before is found without one."
        ) from error


def _license_of(repository: str, revision: str) -> str | None:
    """Read the licence in the head of the model card; None if there is no card or no word."""
    try:
        card = Path(_download(repository, "README.md", revision)).read_text(encoding="utf-8")
    except (CheckpointError, UnicodeDecodeError):
        return None
    head = re.match(r"---\n(.*?)\n---", card, flags=re.DOTALL)
    line = re.search(r"^license:\s*(\S+)", head[1], flags=re.MULTILINE) if head else None
    return line[1] if line else None
