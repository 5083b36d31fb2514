import json

import pytest
import torch
from torch import nn

from pointinteract.exceptions import CheckpointError
from pointinteract.models import (
    ACTPretraining,
    FrozenTransformer,
    PointTransformer,
    read_frozen_transformer,
)
from pointinteract.models.act_autoencoder import ACTAutoencoder

SMALL = dict(width=24, depth=3, n_heads=2)


def vit_config(**further):
    transformers = pytest.importorskip("transformers")
    return transformers.ViTConfig(**{
        "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2,
        "intermediate_size": 60, "image_size": 8, "patch_size": 4, "layer_norm_eps": 1e-3,
        **further,
    })


@pytest.fixture(scope="module")
def vit():
    transformers = pytest.importorskip("transformers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.ViTModel(vit_config(), add_pooling_layer=False).eval()


@pytest.fixture(scope="module")
def folder(vit, tmp_path_factory):
    path = tmp_path_factory.mktemp("vit")
    vit.save_pretrained(path)
    return path


def test_a_transformers_vit_answers_the_same_from_its_folder(vit, folder):
    picture = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = vit(pixel_values=picture).last_hidden_state
        tokens = vit.embeddings(picture)

    ours = read_frozen_transformer(str(folder))

    torch.testing.assert_close(ours(tokens), expected, atol=1e-5, rtol=1e-5)
    assert ours.numbers == {"width": 24, "depth": 3, "n_heads": 2, "hidden": 60,
                            "qkv_bias": True, "eps": 1e-3}
    assert not any(parameter.requires_grad for parameter in ours.parameters())


def test_a_model_is_read_like_its_folder_and_stays_as_it_is(vit, folder):
    from_folder, from_model = read_frozen_transformer(folder), read_frozen_transformer(vit)

    for name, value in from_folder.state_dict().items():
        assert torch.equal(from_model.state_dict()[name], value)
    assert all(parameter.requires_grad for parameter in vit.parameters())


def test_names_of_earlier_versions_of_that_library_are_read(vit):
    ours = read_frozen_transformer(vit)
    state, old = vit.state_dict(), nn.Module()
    renames = {".attention.q_proj.": ".attention.attention.query.",
               ".attention.k_proj.": ".attention.attention.key.",
               ".attention.v_proj.": ".attention.attention.value.",
               ".attention.o_proj.": ".attention.output.dense.",
               ".mlp.fc1.": ".intermediate.dense.", ".mlp.fc2.": ".output.dense."}
    named = {}
    for name, value in state.items():
        for ours_now, before in renames.items():
            name = name.replace(ours_now, before)
        named[f"vit.{name.replace('layers.', 'encoder.layer.')}"] = value
    old.state_dict = lambda *_, **__: named
    old.config = vit.config

    again = read_frozen_transformer(old)

    for name, value in ours.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


class TimmLike(nn.Module):
    """Blocks under the names that timm gives to their parts."""

    def __init__(self):
        super().__init__()
        ours = FrozenTransformer(**SMALL)
        self.patch_embed = nn.Linear(3, 24)
        self.blocks, self.norm = nn.ModuleList(), ours.norm
        for block in ours.blocks:
            part = nn.Module()
            part.norm1, part.norm2 = block.norm1, block.norm2
            part.attn, part.mlp = nn.Module(), nn.Module()
            part.attn.qkv, part.attn.proj = block.attention.qkv, block.attention.projection
            part.attn.num_heads = 2
            part.mlp.fc1, part.mlp.fc2 = block.mlp[0], block.mlp[2]
            self.blocks.append(part)
        self.ours = [ours]


def test_modules_of_timm_and_of_ours_are_read():
    theirs = TimmLike()
    own = PointTransformer(width=12, depth=2, n_heads=3, patch_hidden=(4, 4, 4))
    tokens = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))

    read, plain = read_frozen_transformer(theirs), read_frozen_transformer(own)

    torch.testing.assert_close(read(tokens), theirs.ours[0](tokens))
    assert plain.numbers["n_heads"] == 3 and not plain.numbers["qkv_bias"]
    assert torch.equal(plain.blocks[1].attention.qkv.weight, own.blocks[1].attention.qkv.weight)


def test_gradients_pass_through_and_none_stay():
    frozen = FrozenTransformer(**SMALL)
    tokens = torch.randn(1, 4, 24, requires_grad=True)

    frozen(tokens).square().sum().backward()

    assert tokens.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in frozen.parameters())


def test_what_is_of_another_make_is_refused(vit, tmp_path):
    with pytest.raises(TypeError, match="got int"):
        read_frozen_transformer(3)
    with pytest.raises(CheckpointError, match="Linear, which is not built so"):
        read_frozen_transformer(nn.Linear(2, 2))
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_frozen_transformer("./not-there")
    gated = FrozenTransformer(**SMALL)
    gated.blocks[0].gate = nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match="gate"):
        read_frozen_transformer(gated)
    approximate = FrozenTransformer(**SMALL)
    approximate.blocks[0].mlp[1] = nn.GELU(approximate="tanh")
    with pytest.raises(CheckpointError, match="'gelu_tanh'"):
        read_frozen_transformer(approximate)
    quick = TimmLike()
    quick.blocks[0].mlp.act = nn.SiLU()
    with pytest.raises(CheckpointError, match="'silu'"):
        read_frozen_transformer(quick)
    vit.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_act": "quick_gelu"}))
    with pytest.raises(CheckpointError, match="'quick_gelu'"):
        read_frozen_transformer(tmp_path)
    with pytest.raises(CheckpointError, match="could not be read"):
        read_frozen_transformer(tmp_path.parent)


def small_autoencoder(**further):
    return ACTAutoencoder(**{
        "transformer": SMALL, "n_prompts": 3, "prompt_dropout": 0.0, "n_groups": 6,
        "group_size": 8, "n_tokens": 16, "width": 12, "patch_hidden": (4, 4, 4),
        "graph_hidden": 8, "graph_widths": (8, 8, 8, 8), "coarse_width": 8, "fold_width": 8,
        **further,
    }).eval()


def test_prompts_are_anew_in_every_block_and_dropped_at_the_end():
    model = small_autoencoder()
    lengths, first = [], []

    def look(_, inputs):
        lengths.append(inputs[0].shape[1])
        first.append(inputs[0][0, :3])

    for block in model.image.blocks:
        block.register_forward_pre_hook(look)
    sampled, centers = torch.randn(2, 6, 12), torch.randn(2, 6, 3)

    out = model.read_as_picture(sampled, centers)

    assert out.shape == (2, 6, 12) and lengths == [9, 9, 9]
    torch.testing.assert_close(first[0], (model.prompt_token + model.prompt_pos)[0])
    for i in (1, 2):
        expected = model.deep_prompt_tokens[i - 1] + model.deep_prompt_pos[i - 1]
        torch.testing.assert_close(first[i], expected)


def test_numbers_make_another_autoencoder_like_it():
    model = small_autoencoder()

    again = ACTAutoencoder(**model.numbers)

    again.load_state_dict(model.state_dict())


@pytest.mark.parametrize("follows", [False, True])
def test_a_teacher_follows_the_training_mode_of_the_student_only_if_asked(follows):
    network = ACTPretraining(
        teacher=small_autoencoder().numbers, width=12, depth=1, n_heads=2, n_groups=6,
        group_size=8, patch_hidden=(4, 4, 4), decoder_depth=1, mask_ratio=0.5,
        teacher_batch_statistics=follows,
    )

    assert network.encoder.training and network.teacher.training == follows
    network.eval()
    assert not network.teacher.training
    assert network.train().teacher.training == follows
