"""The defaults that keep the SageMaker SDKs from telling Amazon of each call."""

import pytest

from local.sagemaker import sdk_defaults


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("XDG_CONFIG_HOME", sdk_defaults.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_who_has_no_defaults_gets_some(home, tmp_path):
    file = sdk_defaults.written(tmp_path)
    assert "TelemetryOptOut: true" in file.read_text()


@pytest.mark.parametrize("kind", ["file", "XDG_CONFIG_HOME", "macOS", sdk_defaults.VARIABLE])
def test_a_users_own_defaults_stay(home, tmp_path, monkeypatch, kind):
    place = {"XDG_CONFIG_HOME": "other/sagemaker", "macOS": "Library/Application Support/sagemaker"}
    own = home / place.get(kind, ".config/sagemaker")
    own.mkdir(parents=True)
    (own / "config.yaml").write_text("SchemaVersion: '1.0'\n")
    if kind == "XDG_CONFIG_HOME":
        monkeypatch.setenv(kind, str(own.parent))
    if kind == sdk_defaults.VARIABLE:
        monkeypatch.setenv(kind, str(own / "config.yaml"))
    assert sdk_defaults.written(tmp_path) is None
