"""The arguments of every command, and the help that teaches them."""

import argparse
import textwrap

from pointinteract._version import __version__

DATA_HELP = """\
DATA is one of
  clouds.npz   arrays: points (n_clouds, n_points, 3); label (numbers or names);
               and, if you like, class_names, split ("train"/"test", or 0/1) and
               quant_scale (integer points are multiplied by it). Clouds of
               differing length: all points in one array and offsets.
  clouds.h5    data sets data and label
  folder/      a sub-folder per class with ply, xyz, npy, off, obj, ... files;
               train/ and test/ below or above the classes are understood
"""
UNLABELED_HELP = """\
Labels are not needed here; a single cloud file (ply, xyz, off, ...) will do too.
"""
EXIT_HELP = """
Exit codes: 0 done, 1 something is wrong with data or options, 2 unreadable
command line, 130 stopped by Ctrl-C.
"""


class HelpFormatter(
    argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter
):
    """Keeps our line breaks, and adds the default to each option."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        # "(default: None)" and "(default: False)" teach nothing.
        if action.default is None or action.default is False:
            return action.help
        return super()._get_help_string(action)


def make_parser() -> argparse.ArgumentParser:
    """Make the parser; ``args.run`` names the function of the chosen command."""
    parser = argparse.ArgumentParser(
        prog="pointinteract",
        formatter_class=HelpFormatter,
        description="Learn from 3-D point clouds with few labels, and explain what was learned.",
        epilog="Begin with:  pointinteract demo\n\n"
        "Then, on your own clouds:\n"
        "  pointinteract pretrain clouds.npz -o pretrained.npz     learn without labels\n"
        "  pointinteract train clouds.npz --pretrained pretrained.npz -o model.npz\n"
        "  pointinteract predict model.npz new.npz -o answers.csv\n"
        "  pointinteract explain model.npz new.npz -o why.npz --html why.html\n\n"
        "Each command has its own help:  pointinteract train --help\n" + EXIT_HELP,
    )
    parser.add_argument("--version", action="version", version=f"pointinteract {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (add_demo, add_pretrain, add_train, add_predict, add_explain, add_info):
        add(commands)
    return parser


def add_command(commands, name: str, run: str, *, summary: str, text: str, epilog: str):
    """Add one command with the options that all have."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=textwrap.fill(text, 79),
        epilog=epilog,
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=run)
    general = parser.add_argument_group("general")
    general.add_argument("--quiet", action="store_true", help="no progress, results only")
    general.add_argument("--debug", action="store_true", help="on failure, show the traceback")
    return parser


def add_training_options(parser, *, epochs: int, batch_size: int, rate: float) -> None:
    """Options that pretrain and train share."""
    parser.add_argument("--epochs", type=positive_int, default=epochs, metavar="N",
                        help="passes over the clouds; time grows in proportion")
    parser.add_argument("--batch-size", type=positive_int, default=batch_size, metavar="N",
                        help="clouds per step; larger is steadier and takes more memory")
    parser.add_argument("--learning-rate", type=float, default=rate, metavar="RATE",
                        help="largest step of the optimizer; lower it if the loss jumps")
    add_network_options(parser)
    parser.add_argument("--split", metavar="NAME",
                        help="learn from the clouds of this split only (default: train, if DATA "
                        "names splits, else all clouds)")


def add_network_options(parser) -> None:
    parser.add_argument("--n-points", type=positive_int, default=1024, metavar="N",
                        help="points of a cloud that the network sees; larger clouds are thinned "
                        "evenly, smaller ones taken as they are")
    parser.add_argument("--augmentation", default="scale_translate", metavar="NAMES",
                        help="random changes in training, comma-separated: scale_translate, "
                        "scale, rotate_z (turns about the vertical axis z), rotate_y, jitter, "
                        "drop; or none")
    parser.add_argument("--random-state", type=int, default=0, metavar="SEED",
                        help="same seed, same numbers")
    add_device(parser)


def add_device(parser) -> None:
    parser.add_argument("--device", default="auto", metavar="NAME",
                        help="cpu, cuda, cuda:1, ...; auto takes a GPU if there is one")


def add_output(parser, text: str) -> None:
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help=text)


def add_demo(commands) -> None:
    parser = add_command(
        commands, "demo", "pointinteract.cli._demo:run_demo",
        summary="the main job on built-in shapes or your clouds, with an HTML report",
        text="Pre-train without labels, classify with few labels, explain the answers, and write "
        "one HTML file that shows and explains everything. Takes about three minutes on two "
        "cores; large data are thinned to fit, and the report says so.",
        epilog="examples:\n"
        "  pointinteract demo\n"
        "  pointinteract demo --quick\n"
        "  pointinteract demo --data clouds.npz --output clouds.html\n\n"
        + DATA_HELP + EXIT_HELP,
    )
    parser.add_argument("--data", metavar="DATA", help="your labeled clouds instead of the "
                        "built-in shapes")
    parser.add_argument("-o", "--output", default="pointinteract_demo.html", metavar="FILE",
                        help="the report")
    parser.add_argument("--random-state", type=int, default=0, metavar="SEED",
                        help="same seed, same numbers")
    parser.add_argument("--quick", action="store_true",
                        help="a look in about half a minute; numbers are worse and less certain")
    parser.add_argument("--up", choices=("z", "y", "x"), default="z",
                        help="which axis points up in the pictures")


def add_pretrain(commands) -> None:
    parser = add_command(
        commands, "pretrain", "pointinteract.cli._commands:run_pretrain",
        summary="learn from clouds without labels (ReCon)",
        text="Hide patches of each cloud and learn to rebuild them. The result is a network that "
        "a classifier can start from, so that few labels go further. Ctrl-C stops early and "
        "saves what was reached.",
        epilog="examples:\n"
        "  pointinteract pretrain clouds.npz -o pretrained.npz\n"
        "  pointinteract pretrain clouds.npz -o pretrained.npz --image-teacher depth --epochs 50\n"
        "then:\n"
        "  pointinteract train clouds.npz --pretrained pretrained.npz -o model.npz\n\n"
        + DATA_HELP + UNLABELED_HELP + EXIT_HELP,
    )
    parser.add_argument("data", metavar="DATA", help="clouds; labels are not looked at")
    add_output(parser, "where the pre-trained network goes")
    parser.add_argument("--size", default="nano", choices=("nano", "tiny", "small", "base"),
                        help="nano (1 million parameters) suits a laptop; the others (13, 23, 51 "
                        "million) are the published ones and want a GPU")
    parser.add_argument("--mask-ratio", type=float, default=0.6, metavar="SHARE",
                        help="share of patches hidden; more is harder")
    parser.add_argument("--mask-type", default="rand", choices=("rand", "block"),
                        help="hide patches anywhere, or one connected region (harder)")
    parser.add_argument("--image-teacher", default="none", metavar="NAME",
                        help="also learn to predict pictures of each cloud: depth (drawn and "
                        "described here, needs nothing), a folder or hub name of a transformers "
                        "CLIP or ViT, or none")
    parser.add_argument("--self-contrast", action="store_true",
                        help="also learn to tell clouds apart")
    add_training_options(parser, epochs=100, batch_size=64, rate=1e-3)


def add_train(commands) -> None:
    parser = add_command(
        commands, "train", "pointinteract.cli._commands:run_train",
        summary="train a classifier, from scratch or pre-trained",
        text="Train a network to name clouds, and measure it on the clouds of the other split if "
        "DATA names splits. Ctrl-C stops early and saves what was reached.",
        epilog="examples:\n"
        "  pointinteract train clouds.npz -o model.npz\n"
        "  pointinteract train clouds.npz -o model.npz --model dgcnn --epochs 100\n"
        "  pointinteract train clouds.npz -o model.npz --pretrained pretrained.npz "
        "--labels-per-class 10\n\n" + DATA_HELP + EXIT_HELP,
    )
    parser.add_argument("data", metavar="DATA", help="labeled clouds")
    add_output(parser, "where the trained classifier goes")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--model", metavar="NAME",
                       help="network to train from scratch; `pointinteract info` lists the names "
                       "(default: recon_nano)")
    start.add_argument("--pretrained", metavar="FILE",
                       help="start from what `pretrain` wrote, or from an official checkpoint")
    parser.add_argument("--protocol", default="full", choices=("full", "linear", "mlp3"),
                        help="train everything; or only a linear layer, or three layers, on top")
    parser.add_argument("--labels-per-class", type=positive_int, metavar="N",
                        help="use that many labeled clouds of each class, drawn at random, to "
                        "see how far few labels go (default: all)")
    parser.add_argument("--label-smoothing", type=float, default=0.0, metavar="SHARE",
                        help="share of each label spread over the other classes; 0.1 to 0.2 "
                        "guards against overconfidence")
    parser.add_argument("--balanced", action="store_true",
                        help="let rare classes weigh as much as frequent ones")
    parser.add_argument("--early-stopping", action="store_true",
                        help="hold a tenth of the clouds back and keep the epoch best on them")
    add_training_options(parser, epochs=50, batch_size=32, rate=1e-3)


def add_predict(commands) -> None:
    parser = add_command(
        commands, "predict", "pointinteract.cli._commands:run_predict",
        summary="name clouds with a trained classifier",
        text="Write one line per cloud: its number, the class named, the probability of every "
        "class, and the true label where DATA has one (the accuracy is then measured as well).",
        epilog="examples:\n"
        "  pointinteract predict model.npz clouds.npz -o answers.csv\n"
        "  pointinteract predict model.npz scan.ply\n\n"
        + DATA_HELP + UNLABELED_HELP + EXIT_HELP,
    )
    parser.add_argument("model", metavar="MODEL", help="a file written by `pointinteract train`")
    parser.add_argument("data", metavar="DATA", help="clouds")
    parser.add_argument("-o", "--output", default="-", metavar="FILE",
                        help="csv file; - is the screen")
    parser.add_argument("--votes", type=positive_int, default=1, metavar="N",
                        help="average over N slightly changed copies of each cloud; steadier, "
                        "and N times slower")
    parser.add_argument("--split", metavar="NAME", help="only clouds of this split")


def add_explain(commands) -> None:
    parser = add_command(
        commands, "explain", "pointinteract.cli._commands:run_explain",
        summary="measure which regions of a cloud act together in an answer",
        text="Cut each cloud into regions, ask the classifier about every subset of them, and "
        "compute the interactions: what regions contribute by being there together.",
        epilog="examples:\n"
        "  pointinteract explain model.npz clouds.npz -o why.npz\n"
        "  pointinteract explain model.npz clouds.npz -o why.npz --html why.html --clouds 4\n"
        "then, in Python:\n"
        "  Explanation.load('why.npz').to_frame(top=10)\n\n"
        + DATA_HELP + UNLABELED_HELP + EXIT_HELP,
    )
    parser.add_argument("model", metavar="MODEL", help="a file written by `pointinteract train`")
    parser.add_argument("data", metavar="DATA", help="clouds")
    add_output(parser, "where the explanation goes (npz)")
    parser.add_argument("--html", metavar="FILE", help="also a page with pictures, in one file")
    parser.add_argument("--n-regions", type=positive_int, default=10, metavar="N",
                        help="regions of a cloud; each further one doubles the time, 2^N masked "
                        "clouds are scored")
    parser.add_argument("--clouds", type=positive_int, default=8, metavar="N",
                        help="how many clouds to explain, drawn evenly over the classes")
    parser.add_argument("--score", default="log_odds",
                        choices=("log_odds", "logit", "log_probability", "probability", "margin"),
                        help="what is explained of the class")
    parser.add_argument("--target", default="auto", choices=("auto", "true", "predicted"),
                        help="which class: the true one, or the one named; auto is true where "
                        "labels are known")
    parser.add_argument("--split", metavar="NAME",
                        help="only clouds of this split (default: test, if there is one)")
    parser.add_argument("--random-state", type=int, default=0, metavar="SEED",
                        help="chooses the clouds")
    parser.add_argument("--up", choices=("z", "y", "x"), default="z",
                        help="which axis points up in the pictures")


def add_info(commands) -> None:
    parser = add_command(
        commands, "info", "pointinteract.cli._info:run_info",
        summary="versions and models, or what is in a file",
        text="Without FILE: versions, device, the models by name and the systems whose official "
        "checkpoints can be read. With FILE: what is in a saved model, an explanation or data.",
        epilog="examples:\n"
        "  pointinteract info\n"
        "  pointinteract info model.npz\n"
        "  pointinteract info clouds.npz\n",
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="a model, an explanation or data")


def positive_int(text: str) -> int:
    """A whole number from 1, for argparse."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text!r}")
    return number
