"""Read and write point clouds and meshes; nothing here unpickles."""

from pointinteract.io._meshes import read_mesh
from pointinteract.io._points import read_points, write_points
from pointinteract.io._sampling import sample_surface

__all__ = ["read_mesh", "read_points", "sample_surface", "write_points"]
