from pathlib import Path

import pytest
import yaml

from pipelines.__main__ import main
from pipelines.catalogue import PIPELINES


def test_list_shows_every_parameter_with_its_default(capsys):
    assert main(["list"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for pipeline in PIPELINES.values():
        assert f"{pipeline.name}: {pipeline.definition.description}" in shown
        for parameter in pipeline.parameters.values():
            default = "required" if parameter.required else f"default {parameter.default!r}"
            assert f"{parameter.name} ({default}) {parameter.description}" in shown


def test_compile_writes_both_kinds_and_prints_them(tmp_path, capsys):
    assert main(["compile", "--out", str(tmp_path / "new/folder")]) == 0
    written = capsys.readouterr().out.split()
    assert written == [
        f"{tmp_path}/new/folder/{folder}{pipeline.definition.name}.yaml"
        for pipeline in PIPELINES.values()
        for folder in ("", "kubernetes/")
    ]
    assert all(list(yaml.safe_load_all(Path(path).read_text())) for path in written)


def test_compiling_into_a_file_is_one_clear_error(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["compile", "--out", str(tmp_path / "file")]) == 1
    assert "file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "shelf_detectr"], "did you mean shelf_detector"),
        (["run", "shelf_detector"], "--param source="),
        (["run", "shelf_detector", "--param", "sorce=photos"], "did you mean source"),
        (["run", "shelf_detector", "--param", "source=photos", "--param", "epochs=-3"], "epochs is -3"),
        (["run", "shelf_detector", "--param", "source=photos", "--param", "epochs=many"], "a whole number"),
        (["run", "shelf_detector", "--params", "absent.yaml"], "absent.yaml"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("pipelines: ")
    assert message in error
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["run", "submit", "compile"])
def test_help_teaches(verb, capsys):
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert verb == "compile" or f"python -m pipelines {verb} shelf_detector" in shown
