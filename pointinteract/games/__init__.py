"""Cooperative games in general: coalitions, interactions, strength by order.

Nothing here knows of points or networks.
"""

from pointinteract.games.andor import (
    AndOrInteractions,
    and_or_interactions,
)
from pointinteract.games.coalitions import (
    all_coalitions,
    coalition_index,
    coalition_members,
    coalition_orders,
    n_players_of,
)
from pointinteract.games.exchange import (
    to_shapiq,
)
from pointinteract.games.fourier import (
    SparseFourier,
    r2_score,
    recover_fourier,
)
from pointinteract.games.game import (
    CachedGame,
    Game,
    evaluate_all,
)
from pointinteract.games.groups import (
    GroupInteractions,
    group_coalitions,
    group_interactions,
    group_values,
    triple_order_shares,
)
from pointinteract.games.harsanyi import (
    and_interactions,
    fourier_transform,
    inverse_fourier_transform,
    moebius_transform,
    or_interactions,
    or_values,
    superset_sums,
    zeta_transform,
)
from pointinteract.games.oracles import (
    KnownGame,
    additive_game,
    harsanyi_game,
    or_game,
    threshold_game,
    unanimity_game,
)
from pointinteract.games.orders import (
    Estimate,
    bootstrap_interval,
    correlation_by_order,
    kappa,
    mean_strength,
    noise_floor,
    order_range,
    signed_total,
    total_strength,
)
from pointinteract.games.pairwise import (
    PairwiseOrders,
    context_orders,
    pairwise_interactions,
    pairwise_strength,
    sample_pairwise_interactions,
)
from pointinteract.games.sampling import (
    MAX_SAMPLED_PLAYERS,
    low_order_coalitions,
    low_order_interactions,
    random_coalitions,
)
from pointinteract.games.sparsity import (
    matching_error,
    salient,
    sparsity_curve,
)
from pointinteract.games.values import (
    INDICES,
    banzhaf_values,
    interaction_index,
    shapley_values,
    values_from_index,
)

__all__ = [
    "AndOrInteractions",
    "CachedGame",
    "Estimate",
    "Game",
    "GroupInteractions",
    "INDICES",
    "KnownGame",
    "MAX_SAMPLED_PLAYERS",
    "PairwiseOrders",
    "SparseFourier",
    "additive_game",
    "all_coalitions",
    "and_interactions",
    "and_or_interactions",
    "banzhaf_values",
    "bootstrap_interval",
    "coalition_index",
    "coalition_members",
    "coalition_orders",
    "context_orders",
    "correlation_by_order",
    "evaluate_all",
    "fourier_transform",
    "group_coalitions",
    "group_interactions",
    "group_values",
    "harsanyi_game",
    "interaction_index",
    "inverse_fourier_transform",
    "kappa",
    "low_order_coalitions",
    "low_order_interactions",
    "matching_error",
    "mean_strength",
    "moebius_transform",
    "n_players_of",
    "noise_floor",
    "or_game",
    "or_interactions",
    "or_values",
    "order_range",
    "pairwise_interactions",
    "pairwise_strength",
    "r2_score",
    "random_coalitions",
    "recover_fourier",
    "salient",
    "sample_pairwise_interactions",
    "shapley_values",
    "signed_total",
    "sparsity_curve",
    "superset_sums",
    "threshold_game",
    "to_shapiq",
    "total_strength",
    "triple_order_shares",
    "unanimity_game",
    "values_from_index",
    "zeta_transform",
]
