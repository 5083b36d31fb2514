"""Published figures as they were printed: percent, with what is known of how they were chosen.

Read by :mod:`pointinteract.protocols._published`; here are only the numbers. None: not published.
"""

# Where figures come from.
_QI = "Qi et al. (ReCon), ICML 2023"
_QI_SLIDES = f"{_QI}, slides"
_OWN = "each system's own paper or repository"
_LATER = "quoted by later papers; not in the system's own"

# Sets, and what the figures of one row stand for, in the order of the rows below.
CLASSIFICATION_SETS = (
    ("ScanObjectNN OBJ_BG", ""),
    ("ScanObjectNN OBJ_ONLY", ""),
    ("ScanObjectNN PB_T50_RS", ""),
    ("ModelNet40", "1k points"),
    ("ModelNet40", "8k points"),
)
# Group, method, million parameters, whether it was voted ("" where the table does not say), and
# the five figures. Full fine-tuning, or training from scratch for the first group.
CLASSIFICATION_SOURCE = _QI_SLIDES
CLASSIFICATION = (
    ("supervised", "PointNet", 3.5, "", 73.3, 79.2, 68.0, 89.2, 90.8),
    ("supervised", "PointNet++", 1.5, "", 82.3, 84.3, 77.9, 90.7, 91.9),
    ("supervised", "DGCNN", 1.8, "", 82.8, 86.2, 78.1, 92.9, None),
    ("supervised", "PointCNN", 0.6, "", 86.1, 85.5, 78.5, 92.2, None),
    ("supervised", "SimpleView", None, "", None, None, 80.5, 93.9, None),
    ("supervised", "MVTN", 11.2, "", 92.6, 92.3, 82.8, 93.8, None),
    ("supervised", "PCT", 2.88, "", None, None, None, 93.2, None),
    ("supervised", "PointMLP", 12.6, "", None, None, 85.4, 94.5, None),
    ("supervised", "PointNeXt", 1.4, "", None, None, 87.7, 94.0, None),
    ("supervised", "P2P-HorNet", None, "", None, None, 89.3, 94.0, None),
    ("supervised", "Transformer", 22.1, "", 83.04, 84.06, 79.11, 91.4, 91.8),
    ("supervised", "Transformer (ReCon block)", 43.6, "", 84.9, 86.12, 81.64, 91.6, 92.0),
    ("single-modal", "Point-BERT", 22.1, "", 87.43, 88.12, 83.07, 93.2, 93.8),
    ("single-modal", "Point-MAE", 22.1, "", 90.02, 88.29, 85.18, 93.8, 94.0),
    ("single-modal", "Point-M2AE", 15.3, "", 91.22, 88.81, 86.43, 94.0, None),
    ("single-modal", "Point-MAE (ReCon block)", 43.6, "", 92.6, 91.91, 88.42, 93.8, 94.0),
    ("single-modal", "ReCon, single-modal", 43.6, "no", 94.15, 93.12, 89.73, 93.6, 93.8),
    ("single-modal", "ReCon, single-modal", 43.6, "yes", 94.49, 93.29, 90.35, 93.9, 94.2),
    ("cross-modal", "ACT", 22.1, "", 93.29, 91.91, 88.21, 93.7, 94.0),
    ("cross-modal", "ReCon-Tiny", 11.4, "no", 93.8, 92.94, 89.1, 93.3, 93.6),
    ("cross-modal", "ReCon-Small", 19.0, "no", 94.15, 93.12, 89.52, 93.5, 93.8),
    ("cross-modal", "ReCon, teachers from scratch", 43.6, "no", 94.66, 93.29, 90.32, 94.0, 94.2),
    ("cross-modal", "ReCon", 43.6, "no", 95.18, 93.63, 90.63, 94.1, 94.3),
    ("cross-modal", "ReCon", 43.6, "yes", 95.35, 93.8, 91.26, 94.5, 94.7),
)

# Method, ModelNet40 (1k points) plain, with votes, and of which it is not said which it is; then
# the three variants of ScanObjectNN, as in CLASSIFICATION_SETS. As its own authors give them.
SYSTEMS_SOURCE = _OWN
SYSTEMS = (
    ("Transformer", 91.4, None, None, 79.86, 80.55, 77.24),
    ("OcCo (Transformer)", 92.1, None, None, 84.85, 85.54, 78.79),
    ("Point-BERT", 92.67, 93.24, None, 87.43, 88.12, 83.07),
    ("MaskPoint", None, None, 93.8, 89.3, 89.7, 84.6),
    ("Point-MAE", 93.2, 93.8, None, 90.02, 88.29, 85.18),
    ("Point-M2AE", 93.43, 93.96, None, 91.22, 88.81, 86.43),
    ("ACT", None, None, 93.7, 93.29, 91.91, 88.21),
    ("I2P-MAE", 93.67, 94.06, None, 94.15, 91.57, 90.11),
    ("PointGPT-S", None, None, 94.0, 91.6, 90.0, 86.9),
    ("PointGPT-B", None, None, 94.4, 95.8, 95.2, 91.9),
    ("PointGPT-L", None, None, 94.7, 97.2, 96.6, 93.4),
)

# Frozen network with a head: trained part, method, then mean and standard deviation on the three
# variants of ScanObjectNN and on ModelNet40 (1k points).
FROZEN_SOURCE = f"{_QI}, as commonly quoted"
FROZEN = (
    ("MLP-LINEAR", "ReCon", (89.50, 0.20), (89.72, 0.17), (81.36, 0.14), (92.47, 0.22)),
    ("MLP-3", "ReCon", (90.62, 0.22), (90.71, 0.30), (83.80, 0.42), (93.00, 0.10)),
)

# Linear SVM on frozen features of ModelNet40: method, figure, source.
LINEAR_SVM = (
    ("ReCon", 93.4, _QI_SLIDES),
    ("I2P-MAE", 93.35, _OWN),
    ("Point-M2AE", 92.87, _OWN),
    ("CrossPoint", 91.2, _QI_SLIDES),
    ("Point-MAE", 91.0, _LATER),
    ("OcCo (Transformer)", 89.6, "Yu et al. (Point-BERT), CVPR 2022"),
    ("OcCo", 89.2, _QI_SLIDES),
    ("Point-BERT", 87.4, _LATER),
)

FEW_SHOT_SETTINGS = ("5w10s", "5w20s", "10w10s", "10w20s")
FEW_SHOT_SOURCE = _QI_SLIDES
# What was trained, method, and mean and standard deviation over ten folds in each setting.
FEW_SHOT = (
    ("from scratch", "DGCNN", (31.6, 2.8), (40.8, 4.6), (19.9, 2.1), (16.9, 1.5)),
    ("from scratch", "OcCo", (90.6, 2.8), (92.5, 1.9), (82.9, 1.3), (86.5, 2.2)),
    ("FULL", "Transformer", (87.8, 5.2), (93.3, 4.3), (84.6, 5.5), (89.4, 6.3)),
    ("FULL", "Transformer (ReCon block)", (90.2, 5.9), (94.3, 4.4), (85.2, 5.9), (89.9, 6.1)),
    ("FULL", "OcCo (Transformer)", (94.0, 3.6), (95.9, 2.3), (89.4, 5.1), (92.4, 4.6)),
    ("FULL", "Point-BERT", (94.6, 3.1), (96.3, 2.7), (91.0, 5.4), (92.7, 5.1)),
    ("FULL", "MaskPoint", (95.0, 3.7), (97.2, 1.7), (91.4, 4.0), (93.4, 3.5)),
    ("FULL", "Point-MAE", (96.3, 2.5), (97.8, 1.8), (92.6, 4.1), (95.0, 3.0)),
    ("FULL", "Point-M2AE", (96.8, 1.8), (98.3, 1.4), (92.3, 4.5), (95.0, 3.0)),
    ("FULL", "Point-MAE (ReCon block)", (96.4, 2.8), (97.8, 2.0), (92.5, 4.4), (95.2, 3.9)),
    ("FULL", "ACT", (96.8, 2.3), (98.0, 1.4), (93.3, 4.0), (95.6, 2.8)),
    ("FULL", "ReCon", (97.3, 1.9), (98.9, 1.2), (93.3, 3.9), (95.8, 3.0)),
    ("FULL", "PointGPT-S", (96.8, None), (98.6, None), (92.6, None), (95.2, None)),
    ("FULL", "PointGPT-B", (97.5, None), (98.8, None), (93.5, None), (95.8, None)),
    ("FULL", "PointGPT-L", (98.0, None), (99.0, None), (94.1, None), (96.1, None)),
    ("MLP-LINEAR", "Point-MAE (ReCon block)", (91.1, 5.6), (91.7, 4.0), (83.5, 6.1), (89.7, 4.1)),
    ("MLP-LINEAR", "ACT", (91.8, 4.7), (93.1, 4.2), (84.5, 6.4), (90.7, 4.3)),
    ("MLP-LINEAR", "ReCon", (96.9, 2.6), (98.2, 1.4), (93.6, 4.7), (95.4, 2.6)),
    ("MLP-3", "Point-MAE (ReCon block)", (95.0, 2.8), (96.7, 2.4), (90.6, 4.7), (93.8, 5.0)),
    ("MLP-3", "ACT", (95.9, 2.2), (97.7, 1.8), (92.4, 5.0), (94.7, 3.9)),
    ("MLP-3", "ReCon", (97.4, 2.2), (98.5, 1.4), (93.6, 4.7), (95.7, 2.7)),
)

# Method, prompts, set, figure, source; on the test split.
ZERO_SHOT = (
    ("PointCLIP", "one prompt", "ModelNet10", 30.2, _QI_SLIDES),
    ("PointCLIP", "one prompt", "ModelNet40", 20.2, _QI_SLIDES),
    ("CLIP2Point", "several prompts", "ModelNet10", 66.6, _QI_SLIDES),
    ("CLIP2Point", "several prompts", "ModelNet40", 49.4, _QI_SLIDES),
    ("ReCon", "one prompt", "ModelNet10", 74.2, _QI_SLIDES),
    ("ReCon", "one prompt", "ModelNet40", 60.6, _QI_SLIDES),
    ("ReCon", "several prompts", "ModelNet10", 75.6, _QI_SLIDES),
    ("ReCon", "several prompts", "ModelNet40", 61.7, _QI_SLIDES),
    ("ReCon", "several prompts", "ScanObjectNN OBJ_ONLY", 43.7, _QI),
)

# Parts of ShapeNetPart: method, class and instance mIoU.
SEGMENTATION_SOURCE = _OWN
SEGMENTATION = (
    ("Transformer", 83.42, 85.1),
    ("OcCo (Transformer)", 83.42, 85.1),
    ("Point-BERT", 84.11, 85.6),
    ("MaskPoint", 84.6, 86.0),
    ("Point-MAE", 84.2, 86.1),
    ("Point-M2AE", 84.86, 86.51),
    ("PointGPT-S", None, 86.2),
    ("PointGPT-B", None, 86.5),
    ("PointGPT-L", None, 86.6),
    ("ReCon", 84.8, 86.4),
)
