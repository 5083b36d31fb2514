"""Cooperative games in general: coalitions, interactions, strength by order.

Nothing here knows of points or networks.
"""

from pointinteract.games.coalitions import (
    all_coalitions,
    coalition_index,
    coalition_members,
    coalition_orders,
    n_players_of,
)
from pointinteract.games.game import CachedGame, Game, evaluate_all
from pointinteract.games.harsanyi import (
    and_interactions,
    moebius_transform,
    or_interactions,
    or_values,
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

__all__ = [
    "CachedGame",
    "Estimate",
    "Game",
    "KnownGame",
    "additive_game",
    "all_coalitions",
    "and_interactions",
    "bootstrap_interval",
    "coalition_index",
    "coalition_members",
    "coalition_orders",
    "correlation_by_order",
    "evaluate_all",
    "harsanyi_game",
    "kappa",
    "mean_strength",
    "moebius_transform",
    "n_players_of",
    "noise_floor",
    "or_game",
    "or_interactions",
    "or_values",
    "order_range",
    "signed_total",
    "threshold_game",
    "total_strength",
    "unanimity_game",
    "zeta_transform",
]
