"""Modules of other Debian packages, unpacked beside the tests and not installed: an installation
would switch them on in the machine's own Apache, and bring a mail server with it."""
import pathlib
import subprocess

REPO = pathlib.Path(__file__).resolve().parents[2]


def module(package, file):
    """The path of an Apache module of a Debian package; fetched once a build folder."""
    folder = REPO / "build/foreign" / package
    path = folder / "usr/lib/apache2/modules" / file
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)  # apt fetches as a user of its own
        subprocess.run(["apt-get", "-q", "download", package], cwd=folder, check=True,
                       capture_output=True)
        subprocess.run(["dpkg-deb", "-x", *folder.glob("*.deb"), folder], check=True)
    return path
