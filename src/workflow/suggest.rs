//! "Did you mean": the known word that is nearest to an unknown one. Knows nothing of where words come from.

/// So many candidates are looked at: a hint is not worth more.
const MAX_CANDIDATES: usize = 20_000;

/// Longer words are not compared.
const MAX_LENGTH: usize = 200;

/// The candidate that `word` most likely was meant to be, if any is near.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if length > MAX_LENGTH {
        return None;
    }
    let most = if length < 3 { 1 } else { (length / 3).max(2).min(length - 1) };
    let lower = word.to_lowercase();
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates.into_iter().take(MAX_CANDIDATES) {
        if candidate.len().abs_diff(word.len()) > most * 4 || candidate.len() > MAX_LENGTH * 4 {
            continue;
        }
        let distance = strsim::osa_distance(&lower, &candidate.to_lowercase());
        if distance <= most && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The same as a hint.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, candidates).map(|near| format!("did you mean `{}`?", super::diagnostic::shown(near)))
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_its_word_and_a_stranger_finds_none() {
        let words = ["needs", "uses", "after", "run", "deadline"];
        for (word, found) in [
            ("nedes", Some("needs")),
            ("use", Some("uses")),
            ("Run", Some("run")),
            ("deadlnie", Some("deadline")),
            ("shell", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, words), found, "{word}");
        }
    }
}
