"""What `Corpus.parse` makes of any name: a clip, or a `CorpusError` that contains the name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.corpora import CORPORA, CorpusError, corpus_facts
from tests.corpora.trees import OFFICIAL
from tests.properties import NAMES, PARSERS, any_name_is_a_clip_or_refused

# Digits and letters that Python takes for those of ASCII when a pattern, `int` or `lower` meets them.
LIKE_ASCII = "\u0660\u0661\u06f2\uff13\u017f\u212a\u0130\u0131\xdf\uff41\xb2"
WRONG = {
    "ravdess": ["", "a", "03-01-01-01-01-01", "03-01-09-01-01-01-01", "03-01-01-02-01-01-01", "03-01-02-01-01-01-25"],
    "tess": ["back_angry", "OAF_back_cross", "OA_food_angry", "OAF_back_\u017fad", "OAF_bac\u212a_sad", "OAF_b1_sad"],
    "cremad": ["1092_DFA_ANG_XX", "1001_ABC_ANG_XX", "1001_DFA_CAL_XX", "1001_DFA_ANG", "1041_ITH_SAD_X"],
    "savee": ["DC/a16", "DC/n31", "DC/a00", "DC/s01", "DC/a1", "XX_a01", "audio/a01", "DC/a\u0660\u0661"],
    "emodb": ["01a01Fa", "03a03Fa", "03a01Xa", "03a01F", "03a01FA", "03a01Fab"],
    "emovo": ["dis-f4-b1", "bor-f1-b1", "dis-f1-d3", "dis-f1"],
    "nemo": ["XX0_anger_1", "EB0_calm_1", "EB0_anger_0", "EB0_anger_100"],
    "ased": ["n2-06-01-01-01", "n1-08-01-01-01", "n1-06-03-01-01", "n1-06-01-01-66", "\u017f4-06-01-01-01"],
    "korean-emotion-tts": ["nef00001", "nea00000", "nea00401", "nea001", "lmy00001"],
    "emogator": ["000358-03-1", "000000-03-1", "000001-31-1", "000001-03-4", "1-03-1"],
}


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in OFFICIAL.items() for path in paths])
def test_parse_reads_official_names(name, path):
    corpus = corpus_facts(name)
    clip = corpus.parse(path)
    assert (clip.emotion, clip.speaker, clip.gender) == OFFICIAL[name][path]
    assert corpus.official_name(clip) in (Path(path).stem, f"{clip.speaker}_{Path(path).stem}")


@pytest.mark.parametrize(("name", "stem"), [(name, stem) for name, stems in WRONG.items() for stem in stems])
def test_parse_refuses_other_names(name, stem):
    with pytest.raises(CorpusError) as refused:
        corpus_facts(name).parse(f"x/{stem}.wav" if "/" not in stem else f"{stem}.wav")
    assert f"{stem}.wav: not an official {corpus_facts(name).title} name" in str(refused.value)


@pytest.mark.parametrize("name", CORPORA)
def test_error_of_a_name_shows_an_official_example(name):
    example = corpus_facts(name).names.rpartition(" ")[2]
    assert corpus_facts(name).parse(example)


@pytest.mark.parametrize("emotion", ["ps", "pleasant_surprise", "Pleasant_Surprised", "PS"])
def test_tess_reads_every_spelling(emotion):
    clip = corpus_facts("tess").parse(f"oaf_{emotion}/oaf_Food_{emotion}.wav")
    assert (clip.clip, clip.emotion) == ("OAF_food_ps", "surprised")


@pytest.mark.parametrize(
    ("name", "irregular", "regular"),
    [("tess", "OA_bite_neutral", "OAF_bite_neutral"), ("cremad", "1040_ITH_SAD_X", "1040_ITH_SAD_XX")],
)
def test_irregular_names_are_kept_where_mirrors_correct_them(name, irregular, regular):
    corpus = corpus_facts(name)
    assert corpus.parse(irregular) == corpus.parse(regular)
    assert corpus.official_name(corpus.parse(regular)) == irregular


@given(st.text())
def test_any_text_is_a_clip_or_refused(name):
    any_name_is_a_clip_or_refused(name)


@pytest.mark.parametrize("corpus", PARSERS)
@given(data=st.data())
def test_altered_official_names_are_clips_or_refused(corpus, data):
    name = list(NAMES[corpus])
    for _ in range(data.draw(st.integers(1, 3))):
        name[data.draw(st.integers(0, len(name) - 1))] = data.draw(st.sampled_from([*LIKE_ASCII, *"019-_/.aZ\0\n", ""]))
    any_name_is_a_clip_or_refused("".join(name))
