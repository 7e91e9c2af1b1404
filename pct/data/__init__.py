"""Data: COCO and MPII files, generated poses, augmentation."""
