"""``deepvis view [SOURCE]``: the live viewer, in a window, in a browser, or into files."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL, OPTIMIZER, VIEWER

if TYPE_CHECKING:
    from deepvis_caffe.viewer.session import Session


@with_settings(MODEL, VIEWER, OPTIMIZER)
def view(
    settings: Settings,
    first: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="Camera number or device, video, URL, image, folder, or several separated by "
            "commas. Default: `source` in the settings.",
        ),
    ] = None,
    browser: Annotated[
        bool,
        typer.Option(
            "--browser", help="Serve the viewer as a web page instead of opening a window."
        ),
    ] = False,
    host: Annotated[
        str,
        typer.Option(
            help="With --browser: address to listen on. All but loopback addresses require a token."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="With --browser: port to listen on; 0 for any free port.")
    ] = 8008,
    token: Annotated[
        str | None,
        typer.Option(
            help="With --browser: token that visitors must give. Default: a new one if needed."
        ),
    ] = None,
    headless: Annotated[
        bool,
        typer.Option("--headless", help="Write what the window would show to files, and exit."),
    ] = False,
    frames: Annotated[
        int, typer.Option(help="With --headless: number of images to write.", min=1)
    ] = 1,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="With --headless: folder for the images.")
    ] = Path("view"),
    press: Annotated[
        str,
        typer.Option(
            help="Keys to press at the start, such as right*3,down,b. Press h to list the keys."
        ),
    ] = "",
    synthesis: Annotated[
        bool,
        typer.Option(
            "--synthesis/--no-synthesis",
            help="Optimize images for units that have none, while idle.",
        ),
    ] = True,
) -> None:
    """Live viewer: see every unit respond to a camera, a video or images.

    Shows the activations of all units of a layer, saliency maps of the selected unit, its optimized
    images and its top images. Press h for the list of keys, q to quit.
    """
    from deepvis_caffe.cli.progress import progress_bar
    from deepvis_caffe.image import opencv_threads
    from deepvis_caffe.viewer.state.actions import parse_keys

    if browser and headless:
        raise SettingsError("--browser and --headless cannot be combined; give one of them")
    keys = parse_keys(press)
    # Check what may be missing before loading the net, which takes a while.
    if headless:
        from deepvis_caffe.viewer.headless import run_headless
    elif browser:
        from deepvis_caffe.viewer.browser.serve import check_packages, serve

        check_packages()
    else:
        from deepvis_caffe.viewer.window.display import check_display
        from deepvis_caffe.viewer.window.window import run_window

        check_display()
    session = open_session(settings, first, synthesis, run=headless)
    # OpenCV uses one thread: the net needs the cores, and drawing is little work.
    with opencv_threads(1), closing(session):
        # The worker imports PyTorch. Draw first, so that all modules for drawing are imported by
        # then: an interrupt during another import would leave import locks held and block the
        # worker.
        session.draw()
        session.start()
        for key in keys:
            session.press(key)
        if headless:
            with progress_bar("pictures") as report:
                written = run_headless(session, frames, out, report)
            typer.echo(f"wrote {len(written)} pictures to {out}", err=True)
        elif browser:
            serve(session, host, port, token, say=lambda line: typer.echo(line, err=True))
        else:
            run_window(session)


def open_session(
    settings: Settings, source: str | None, synthesis: bool, run: bool = False
) -> Session:
    """Load the net and build the session around it, without starting threads.

    Parameters
    ----------
    run
        Whether to make the net ready to run; otherwise the session's worker does so, while the
        viewer already shows something.
    """
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.optimizer import ascent_params
    from deepvis_caffe.optimizer.presets import find_preset
    from deepvis_caffe.viewer.compute.synthesis import SynthesisParams
    from deepvis_caffe.viewer.parts import Parts
    from deepvis_caffe.viewer.session import Session
    from deepvis_caffe.viewer.sources.open_source import parse_sources

    sources = parse_sources(source or settings.source, settings.max_megapixels)
    params = ascent_params(
        find_preset(settings.preset, settings.presets_file), settings.rate, settings.iterations
    )
    net = load_net(settings, run=run)
    how = SynthesisParams(params, settings.seeds) if synthesis else None
    parts = Parts(
        net,
        sources,
        settings.results,
        how,
        box_score=settings.box_score,
        megapixels=settings.max_megapixels,
        pictures_from=settings.pictures_from,
        layer_names=settings.layer_names,
    )
    return Session(parts, *settings.window)
