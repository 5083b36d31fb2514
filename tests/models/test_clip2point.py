import torch
from torch import nn

from pointinteract.models import DepthViewEncoder


def test_a_module_without_weights_serves_as_picture_network():
    network = nn.Sequential(nn.AvgPool2d(4), nn.Flatten())

    encoder = DepthViewEncoder(network, picture_size=8, n_views=2, radius=0.2)

    assert encoder.num_features == 12
    assert encoder.forward_pool(torch.rand(3, 20, 3) - 0.5).shape == (3, 12)


def test_asking_for_the_width_leaves_modes_and_statistics_alone():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), nn.AvgPool2d(4), nn.Flatten())
    network[0].eval()

    made = DepthViewEncoder(network, picture_size=8, n_views=2).picture_network

    assert [layer.training for layer in made] == [False, True, True, True]
    assert made[0].num_batches_tracked == 0


def test_a_fresh_head_has_the_precision_of_the_rest():
    encoder = DepthViewEncoder(nn.Sequential(nn.AvgPool2d(4), nn.Flatten()), picture_size=8)
    encoder.double().reset_classifier(4)

    scores = encoder(torch.rand(2, 20, 3, dtype=torch.float64) - 0.5)

    assert scores.shape == (2, 4) and scores.dtype == torch.float64
