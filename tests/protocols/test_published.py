"""Published figures: complete, labelled, and beside the right estimator."""

import json

import numpy as np
import pytest
from torch import nn

from pointinteract.classification import PointClassifier
from pointinteract.pretraining import (
    CrossPointPretrainer,
    OcCoPretrainer,
    PointBERTPretrainer,
    PointGPTPretrainer,
    PointMAEPretrainer,
    ReConPretrainer,
    SimCLRPretrainer,
)
from pointinteract.protocols import find_published, published_results

RECON = ReConPretrainer(image_teacher="depth_descriptor", text_teacher="hashed_ngrams")


def test_every_figure_says_where_it_comes_from_and_how_it_was_chosen():
    results = published_results()

    assert len(results) > 200
    assert results["value"].between(0, 100).all()
    assert (results[["method", "dataset", "selection", "source"]] != "").all(axis=None)
    assert not results.duplicated(
        ["table", "method", "dataset", "setting", "trained", "metric", "selection", "source"]
    ).any()


def test_a_table_is_a_part_of_all():
    svm = published_results("linear_svm")

    assert set(svm["table"]) == {"linear_svm"}
    assert svm.set_index("method").loc["CrossPoint", "value"] == 91.2
    with pytest.raises(ValueError, match="table must be one of"):
        published_results("svm")


def test_changing_a_returned_table_changes_no_other():
    mine = published_results()
    mine["value"] = 0.0

    assert published_results()["value"].min() > 1


def test_tables_hold_all_that_the_slides_print(shared):
    slides = json.loads((shared / "specs" / "published_results.json").read_text())
    ours = published_results()
    by_table = {name: rows for name, rows in ours.groupby("table")}
    columns = {
        "scan_obj_bg": ("ScanObjectNN OBJ_BG", ""),
        "scan_obj_only": ("ScanObjectNN OBJ_ONLY", ""),
        "scan_pb_t50_rs": ("ScanObjectNN PB_T50_RS", ""),
        "modelnet40_1k": ("ModelNet40", "1k points"),
        "modelnet40_8k": ("ModelNet40", "8k points"),
    }

    missing = []
    for row in slides["classification"]:
        method = row["method"].removesuffix(", voting").removesuffix(", no voting")
        for column, (dataset, setting) in columns.items():
            if row[column] is not None:
                table = by_table["classification"]
                found = table[(table["method"] == method) & (table["dataset"] == dataset)
                              & (table["setting"] == setting)]  # fmt: skip
                if row[column] not in set(found["value"]):
                    missing.append((method, column))
    for row in slides["linear_svm_modelnet40"]:
        table = by_table["linear_svm"].set_index("method")["value"]
        if round(table[row["method"]], 1) != row["modelnet40"]:
            missing.append(row["method"])
    for row in slides["few_shot_modelnet40"]:
        method = row["method"].removesuffix(" (DGCNN)")
        if row["method"] == "OcCo":
            method = "OcCo (Transformer)"
        table = by_table["few_shot"]
        found = table[(table["method"] == method) & (table["trained"] == row["protocol"])]
        found = found.set_index("setting")
        for setting in ("5w10s", "5w20s", "10w10s", "10w20s"):
            figure = (found.loc[setting, "value"], found.loc[setting, "sd"])
            if figure != (row[setting]["mean"], row[setting]["std"]):
                missing.append((method, setting))
    for row in slides["zero_shot"]:
        table = by_table["zero_shot"]
        for column, dataset in (("modelnet10", "ModelNet10"), ("modelnet40", "ModelNet40")):
            found = table[(table["method"] == row["method"]) & (table["dataset"] == dataset)]
            if row[column] not in set(found["value"]):
                missing.append((row["method"], column))
    assert not missing


@pytest.mark.parametrize(
    ("estimator", "protocol", "label"),
    [
        (RECON, "linear_probe", "ReCon, ModelNet40, linear SVM, 93.4"),
        (RECON, "fine_tune", "ReCon, ModelNet40, fine-tuned, 1k points, 94.1"),
        (RECON, "vote", "ReCon, ModelNet40, fine-tuned, votes, 1k points, 94.5"),
        (RECON, "few_shot", "ReCon, ModelNet40, few-shot, 5w10s, 97.3"),
        (
            ReConPretrainer("tiny", image_teacher="depth_descriptor"),
            "fine_tune",
            "ReCon-Tiny, ModelNet40, fine-tuned, 1k points, 93.3",
        ),
        (
            PointMAEPretrainer(block="recon"),
            "few_shot",
            "Point-MAE (ReCon block), ModelNet40, few-shot, 5w10s, 96.4",
        ),
        (
            PointClassifier(pretrained=PointBERTPretrainer()),
            "fine_tune",
            "Point-BERT, ModelNet40, fine-tuned, 1k points, 92.67",
        ),
        (
            PointClassifier("dgcnn"),
            "fine_tune",
            "DGCNN, ModelNet40, from scratch, 1k points, 92.9",
        ),
        (
            PointClassifier("pointnet2_ssg"),
            "fine_tune",
            "PointNet++, ModelNet40, from scratch, 1k points, 90.7",
        ),
        (
            PointGPTPretrainer(size="large"),
            "vote",
            "PointGPT-L, ModelNet40, fine-tuned (votes not stated), 1k points, 94.7",
        ),
        (OcCoPretrainer(), "linear_probe", "OcCo, ModelNet40, linear SVM, 89.2"),
        ("I2P-MAE", "linear_probe", "I2P-MAE, ModelNet40, linear SVM, 93.35"),
    ],
)  # fmt: skip
def test_label_names_method_data_set_and_protocol(estimator, protocol, label):
    figure = find_published(estimator, protocol)

    assert figure.label == label
    assert figure.accuracy == pytest.approx(float(label.rsplit(", ", 1)[1]) / 100)
    assert figure.selection and figure.source


@pytest.mark.parametrize(
    ("estimator", "protocol"),
    [
        (SimCLRPretrainer(), "linear_probe"),
        (ReConPretrainer(), "linear_probe"),  # without teachers it is another method
        (CrossPointPretrainer("pointnet"), "linear_probe"),  # the figure is DGCNN's
        (ReConPretrainer(architecture="multitask", image_teacher="depth_descriptor"), "vote"),
        (PointClassifier("dgcnn"), "vote"),
        (PointClassifier("dgcnn", pretrained="file.pth"), "fine_tune"),
        (PointClassifier(type("PointNetOfMine", (nn.Module,), {})), "fine_tune"),
    ],
)
def test_there_is_no_figure_for_what_nobody_published(estimator, protocol):
    assert find_published(estimator, protocol) is None


def test_a_voted_figure_is_never_put_beside_a_single_prediction():
    results = published_results("classification")
    methods = sorted(set(results["method"]))

    for method in methods:
        figure = find_published(method, "fine_tune")
        assert figure is None or "voting rounds" not in figure.selection
    assert find_published("MaskPoint", "fine_tune") is None  # nobody said which it is
    assert "does not say" in find_published("MaskPoint", "vote").selection


def test_setting_and_trained_part_can_be_asked_for():
    figure = find_published(RECON, "few_shot", setting="10w20s", trained="MLP-3")

    assert figure.accuracy == pytest.approx(0.957)
    assert figure.sd == pytest.approx(0.027)
    assert figure.label.endswith("few-shot, 10w20s, MLP-3, 95.7")


def test_another_data_set_has_its_own_figure_and_name():
    figure = find_published(RECON, "fine_tune", dataset="ScanObjectNN PB_T50_RS")

    assert figure.label == "ReCon, ScanObjectNN PB_T50_RS, fine-tuned, 90.63"
    assert np.isnan(figure.sd)
    assert find_published(RECON, "linear_probe", dataset="ModelNet10") is None
    with pytest.raises(ValueError, match="dataset must be one of"):
        find_published(RECON, "linear_probe", dataset="ModelNet")
