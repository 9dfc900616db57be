"""Exit codes and messages of `downlinkd run` when it cannot start."""

import re

import pytest

import seeds
from agent import run_to_end

USAGE = 64
CONFIGURATION = 78


@pytest.fixture
def config(rig):
    rig.configure("guarded", ("cloud",), seeds.TYPES)
    return rig.agent.config


def check_refused(config, *named):
    """Ends with the configuration's exit code, and names the file and the rest."""
    result = run_to_end("run", "--config", config)
    assert result.returncode == CONFIGURATION, result.stderr
    for text in (str(config), *named):
        assert text in result.stderr, result.stderr


def test_unknown_option():
    assert run_to_end("run", "--colour").returncode == USAGE


def test_unknown_subcommand():
    assert run_to_end("fly").returncode == USAGE


def test_missing_file(config):
    config.unlink()
    check_refused(config)


def test_no_toml(config):
    config.write_text("[device\n")
    check_refused(config)


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("[journal]", "[journal]\ncolour = 1", ["journal", "colour"]),
        ("[journal]", "[colours]\nred = 1\n[journal]", ["colours"]),
        ('mode = "guarded"', 'mode = "open"', ["guard", "mode", "open"]),
        ("target_system = 1", "target_system = 256", ["link", "target_system", "256"]),
        ('"30s"', '"soon"', ["delivery", "default_timeout", "soon"]),
        ('endpoint = "serial:', 'endpoint = "pigeon:', ["link", "endpoint", "pigeon:"]),
        ('url = "mqtt:', 'url = "ftp:', ["mqtt", "url", "ftp"]),
        ('type = "nav_roi"', 'type = "nav_rio"', ["guard.command", "type", "nav_rio"]),
    ],
    ids=["key", "section", "mode", "system", "duration", "endpoint", "url", "command"],
)
def test_bad_value(config, before, after, named):
    text = config.read_text()
    assert before in text
    config.write_text(text.replace(before, after))
    check_refused(config, *named)


@pytest.mark.parametrize("mode", ["guarded", "disabled"])
def test_issuer_without_a_key(config, mode):
    text = config.read_text().replace('mode = "guarded"', f'mode = "{mode}"')
    text, keys = re.subn(r"\[\[guard\.issuer\.key\]\]\n(?:\w+ = .*\n)+", "", text)
    assert (keys, f'mode = "{mode}"' in text) == (1, True)
    config.write_text(text)
    check_refused(config, "[guard.issuer] key", '"cloud"', "downlinkd keygen")


def test_guarded_without_an_issuer(rig):
    rig.configure("guarded", (), seeds.TYPES)
    check_refused(rig.agent.config, "guard.issuer")
