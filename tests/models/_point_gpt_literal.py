"""PointGPT step by step as its description has it, reading weights by official names.

Sequence first, torch's own multi-head attention, convolutions, masks that say who is blocked.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from pointinteract.models import PointGPT
from pointinteract.ops import farthest_point_sample, gather, knn

N_HEADS, G, K = 2, 9, 5
SMALL = {"width": 20, "depth": 2, "n_heads": N_HEADS, "n_groups": G, "group_size": K,
         "generator_depth": 2}
OFFICIAL = {"num_heads": N_HEADS, "num_group": G, "group_size": K}
ORIGINAL = {"class_token": "second", "temperature": 1.0, "generation_target": "absolute"}
HIDDEN = {"small": (8, 12, 16), "large": (6, 8, 12, 16)}


def shaken(network, generator):
    """A network in double precision with weights that training might have left."""
    network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.add_(torch.rand(buffer.shape, generator=generator))
    return network.eval()


def make(generator, **settings):
    return shaken(PointGPT(n_classes=4, patch_hidden=HIDDEN["small"], **SMALL | settings),
                  generator)


class Literal:
    """Functions of a state by official names; `prefix` is that of the pre-training network."""

    def __init__(self, state, prefix="", training=False, temperature=1.0):
        self.state = {
            key[len(prefix):]: value.clone().requires_grad_(value.is_floating_point())
            for key, value in state.items()
        }
        self.training, self.temperature = training, temperature

    def take(self, prefix):
        return {k[len(prefix) + 1:]: v for k, v in self.state.items()
                if k.startswith(f"{prefix}.")}

    def cut(self, points):
        """Patches by farthest points and nearest neighbors, in the order of a greedy walk."""
        centers = gather(points, farthest_point_sample(points, G))
        patches = gather(points, knn(centers, points, K)) - centers.unsqueeze(2)
        for b in range(len(points)):
            walk = [0]
            while len(walk) < G:
                distance = (centers[b] - centers[b, walk[-1]]).norm(dim=1)
                distance[walk] = torch.inf
                walk.append(int(distance.argmin()))
            centers[b], patches[b] = centers[b, walk].clone(), patches[b, walk].clone()
        return patches, centers

    def embed(self, patches):
        rows = patches.flatten(0, 1).transpose(1, 2)  # (B G, 3, K)
        rows = self.convolve("encoder.first_conv", rows)
        pooled = rows.amax(dim=2, keepdim=True).expand_as(rows)
        rows = self.convolve("encoder.second_conv", torch.cat([pooled, rows], dim=1))
        return rows.amax(dim=2).view(len(patches), G, -1)

    def convolve(self, prefix, rows):
        layers = self.take(prefix)
        for number in sorted({int(key.split(".")[0]) for key in layers}):
            of_layer = self.take(f"{prefix}.{number}")
            if "running_mean" in of_layer:
                mean, var = (of_layer[k].detach().clone() for k in ("running_mean", "running_var"))
                rows = F.batch_norm(rows, mean, var, of_layer["weight"], of_layer["bias"],
                                    self.training).relu()
            else:
                rows = F.conv1d(rows, of_layer["weight"], of_layer["bias"])
        return rows

    def position(self, places, width):
        n_axis = width // 3 // 2 * 2
        found = places.new_zeros(*places.shape[:-1], width)
        for axis in range(3):
            for k in range(n_axis):
                wave = math.sin if k % 2 == 0 else math.cos
                wavelength = self.temperature ** (2 * (k // 2) / n_axis)
                values = [wave(2 * math.pi * x / wavelength)
                          for x in places[..., axis].flatten().tolist()]
                found[..., axis * n_axis + k] = places.new_tensor(values).view(places.shape[:-1])
        return found

    def stack(self, prefix, tokens, positions, blocked):
        """Blocks of a stack on (B, T, C); `blocked` (T, T) is True where nothing is read."""
        tokens, positions = tokens.transpose(0, 1), positions.transpose(0, 1)
        width, i = tokens.shape[-1], 0
        attention = nn.MultiheadAttention(width, N_HEADS).double()
        while layer := self.take(f"{prefix}.layers.{i}"):
            def norm(x, name, layer=layer):
                return F.layer_norm(x, (width,), layer[f"{name}.weight"], layer[f"{name}.bias"])

            tokens = norm(tokens + positions, "ln_1")
            weights = {k[5:]: v for k, v in layer.items() if k.startswith("attn.")}
            read, _ = torch.func.functional_call(
                attention, weights, (tokens,) * 3, {"attn_mask": blocked, "need_weights": False}
            )
            tokens = tokens + read
            inner = F.gelu(F.linear(norm(tokens, "ln_2"), layer["mlp.0.weight"],
                                    layer["mlp.0.bias"]))
            tokens = tokens + F.linear(inner, layer["mlp.2.weight"], layer["mlp.2.bias"])
            i += 1
        last = self.take(f"{prefix}.ln_f")
        return F.layer_norm(tokens, (width,), last["weight"], last["bias"]).transpose(0, 1)

    def generator(self, tokens, centers, blocked):
        steps = centers[:, 1:] - centers[:, :-1]
        route = torch.cat([centers[:, :1], steps / steps.norm(dim=2, keepdim=True)], dim=1)
        positions = self.position(route, tokens.shape[-1])
        read = self.stack("generator_blocks", tokens, positions, blocked)
        last = self.take("generator_blocks.increase_dim.0")
        rows = F.conv1d(read.transpose(1, 2), last["weight"], last["bias"]).transpose(1, 2)
        return rows.reshape(len(tokens), G, K, 3)

    def pretrain(self, points, hidden):
        patches, centers = self.cut(points)
        tokens = self.embed(patches)
        width = tokens.shape[-1]
        start = self.state["blocks.sos"].expand(len(points), 1, -1)
        tokens = torch.cat([start, tokens[:, :-1]], dim=1)
        positions = torch.cat([self.state["sos_pos"].expand(len(points), -1, -1),
                               self.position(centers[:, :-1], width)], dim=1)
        later = torch.ones(G, G).triu(diagonal=1).bool()
        blocked = later | (hidden.expand(G, G) & ~torch.eye(G).bool())
        generated = self.generator(self.stack("blocks", tokens, positions, blocked), centers,
                                   blocked)
        return generated, both_chamfers(generated, patches)

    def classify(self, points):
        """The classifier as published: logits, and the loss of the generator."""
        patches, centers = self.cut(points)
        tokens = self.embed(patches)
        width = tokens.shape[-1]
        start, of_class, class_place, start_place = (
            self.state[name].expand(len(points), 1, -1)
            for name in ("blocks.sos", "cls_token", "cls_pos", "sos_pos")
        )
        tokens = torch.cat([start, of_class, tokens], dim=1)
        positions = torch.cat([class_place, start_place, self.position(centers, width)], dim=1)
        blocked = torch.ones(G + 2, G + 2).triu(diagonal=1).bool()
        read = self.stack("blocks", tokens, positions, blocked)
        norm = self.take("blocks.cls_norm")
        normed = F.layer_norm(read, (width,), norm["weight"], norm["bias"])
        row = torch.cat([normed[:, 1], normed[:, 2:].amax(dim=1)], dim=1)
        head = self.take("blocks.cls_head_finetune")
        for linear, batch_norm in ((0, 1), (4, 5)):
            row = F.linear(row, head[f"{linear}.weight"], head[f"{linear}.bias"])
            mean, var = (head[f"{batch_norm}.running_{k}"].detach().clone()
                         for k in ("mean", "var"))
            row = F.batch_norm(row, mean, var, head[f"{batch_norm}.weight"],
                               head[f"{batch_norm}.bias"]).relu()
        logits = F.linear(row, head["8.weight"], head["8.bias"])
        earlier = torch.cat([read[:, :1], read[:, 2:-1]], dim=1)
        generated = self.generator(earlier, centers, torch.ones(G, G).triu(diagonal=1).bool())
        return logits, both_chamfers(generated, patches + centers.unsqueeze(2))


def both_chamfers(a, b):
    distance = torch.cdist(a.flatten(0, 1), b.flatten(0, 1))
    sides = [distance.amin(dim=2), distance.amin(dim=1)]
    return sum(d.mean() for d in sides) / 2 + sum(d.square().mean() for d in sides)
