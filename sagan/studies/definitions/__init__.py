"""All studies by name; a new study is a file and an entry here."""

from sagan.studies.definitions import attention, discriminator, parts, spectral_norm

STUDIES = {
    study.name: study
    for study in (attention.STUDY, parts.STUDY, spectral_norm.STUDY, discriminator.STUDY)
}
