"""A public battery of checks for estimators that take point clouds.

scikit-learn's battery knows tables only. This one fits an estimator on clouds,
(n_clouds, n_points, 3), and tries what users do to clouds: other orders, sizes, types and
memory, broken values, pickling, repeats. Use it on your own estimators as we do on ours.
"""

from pointinteract.testing._battery import (
    check_cloud_estimator,
    cloud_checks,
    parametrize_with_cloud_checks,
)

__all__ = ["check_cloud_estimator", "cloud_checks", "parametrize_with_cloud_checks"]
