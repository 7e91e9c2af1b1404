"""CellGrid: from joints in model units to places in a feature map or heatmap, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CellGrid:
    """Where the cells of a map lie in a crop.

    Attributes:
        grid: Height and width of the map.
        image_size: Height and width of the crop in pixels; its longer side spans the square frame of model units.
        bounds: Lowest and highest coordinate of that frame, in model units.
        cell_center: Where in a cell its value lies, as a share of the cell: 0.5 is its middle.
    """

    grid: tuple[int, int]
    image_size: tuple[int, int]
    bounds: tuple[float, float] = (-1.0, 1.0)
    cell_center: float = 0.5

    def to_cells(self, keypoints: Tensor) -> Tensor:
        """Return joints (..., 2) in model units as places x, y in the map; (0, 0) is where the first value lies."""
        low, high = self.bounds
        square = (2 * keypoints - (low + high)) / (high - low)
        return (square / self._extent(square) + 1) / 2 * self._size(square) - self.cell_center

    def from_cells(self, cells: Tensor) -> Tensor:
        """Undo :meth:`to_cells`."""
        low, high = self.bounds
        square = (2 * (cells + self.cell_center) / self._size(cells) - 1) * self._extent(cells)
        return (square * (high - low) + (low + high)) / 2

    def heatmaps(self, keypoints: Tensor, sigma: float) -> Tensor:
        """Return Gaussians (B, K, h, w) of height 1 and deviation ``sigma`` cells around joints (B, K, 2)."""
        cells = self.to_cells(keypoints)
        height, width = self.grid
        x = torch.arange(width, device=cells.device) - cells[..., :1]  # (B, K, w)
        y = torch.arange(height, device=cells.device) - cells[..., 1:]
        along_x, along_y = (torch.exp(-d.square() / (2 * sigma**2)) for d in (x, y))
        return along_y[..., :, None] * along_x[..., None, :]

    def mirror(self, maps: Tensor, flip_index: Tensor) -> Tensor:
        """Return the maps (B, K, h, w) as those of the mirrored crop; twice gives them back, but for a column.

        Args:
            maps: One a joint.
            flip_index: Permutation (K,) of the joints that a mirror makes.
        """
        # The first value of a row lies cell_center cells from the left edge and the last one 1 - cell_center from the
        # right one, so the turned row is off by the difference.
        shift = round(1 - 2 * self.cell_center)
        columns = (torch.arange(maps.shape[-1], device=maps.device) - shift).clamp(0, maps.shape[-1] - 1)
        return maps[:, flip_index.to(maps.device)].flip(-1)[..., columns]

    def _size(self, like: Tensor) -> Tensor:
        height, width = self.grid
        return like.new_tensor([width, height])

    def _extent(self, like: Tensor) -> Tensor:
        """Half of the crop's width and height over half of its longer side."""
        height, width = self.image_size
        return like.new_tensor([width, height]) / max(height, width)
