"""`ser_hf.embed`: a row per recording that can be used; the others are reported."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import soundfile

from ser_hf import EmotionClassifier, embed
from ser_hf.audio import SAMPLE_RATE
from tests.synthetic import make_clip
from tests.tiny_models import save_tiny_whisper


def test_embed_writes_a_row_per_recording(tmp_path, capsys):
    model = str(save_tiny_whisper(tmp_path / "tiny-whisper"))
    clips = tmp_path / "clips"
    (clips / "empty").mkdir(parents=True)
    for name in (b"caf\xe9", b"a.wav"):
        soundfile.write(clips / "a.wav", make_clip("happy"), SAMPLE_RATE)
        os.rename(clips / "a.wav", os.fsencode(clips) + b"/" + name)
    (clips / "bad.wav").write_text("no sound")
    (clips / "notes.txt").write_text("nor is this")
    output = clips / "embeddings.parquet"
    for _ in range(2):  # what an earlier call has written is not named
        arguments = [str(clips), str(clips / "empty"), "--model", model, "--output", str(output)]
        assert embed.main(arguments) == 1
        errors = capsys.readouterr().err
        for name in ("bad.wav", "notes.txt", "empty"):
            assert name in errors
        assert "recordings: " + str(clips / "notes.txt") in errors
    table = pd.read_parquet(output)
    assert table["file"].tolist() == [str(clips / "a.wav"), str(clips / "caf\\udce9")]
    expected = EmotionClassifier.from_pretrained(model).embed([str(clips / "a.wav")])[0]
    np.testing.assert_allclose(table["embedding"][0], expected, atol=1e-5)
