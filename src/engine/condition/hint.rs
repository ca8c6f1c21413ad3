//! What could have been meant: the nearest known word, and ids with `-` that CEL reads as a subtraction. Knows only texts.

use super::names::Root;
use super::node::At;

/// So many candidates are looked at: a hint is not worth more.
const CANDIDATES_MAX: usize = 20_000;
/// Longer words are not compared.
const WORD_MAX: usize = 100;

/// The candidate that `word` most likely was meant to be, if any is near.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if length > WORD_MAX {
        return None;
    }
    let most = (length / 3).max(1);
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .take(CANDIDATES_MAX)
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= most * 4)
        .map(|candidate| (strsim::osa_distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= most && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The same as a hint.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, candidates).map(|near| format!("did you mean `{}`?", near.escape_debug()))
}

/// If what stands at `at` is part of an id with `-` after a root (`task.roll-eu`): where all of it stands, and how to write it.
pub(super) fn dashed(text: &str, at: At) -> Option<(At, String)> {
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'-';
    let bytes = text.as_bytes();
    let (start, end) = (at.start as usize, at.end as usize);
    // To the left, over the id and the root before its dot; to the right, to the end of the id.
    let end = end + bytes.get(end..)?.iter().take_while(|byte| part(byte)).count();
    let dotted = |byte: &u8| part(byte) || *byte == b'.';
    let start = start - bytes.get(..start)?.iter().rev().take_while(|byte| dotted(byte)).count();
    let (root, rest) = text.get(start..end)?.split_once('.')?;
    let root = Root::named(root).filter(|root| !matches!(root, Root::Run | Root::System))?;
    let (id, field) = rest.split_once('.').map_or((rest, None), |(id, field)| (id, Some(field)));
    // `metrics.a-metrics.b` is a subtraction.
    let subtracts = id.rsplit('-').next().is_some_and(|last| Root::named(last).is_some());
    if id.contains('-') && !id.starts_with('-') && !id.ends_with('-') && !subtracts {
        let length = root.word().len() + 1 + id.len();
        let place = At { start: at_u32(start), end: at_u32(start + length) };
        return Some((place, format!("an id with `-` is written {}[\"{id}\"]", root.word())));
    }
    // `task.build.out.line-count`
    let (id, name) = (id, field?.strip_prefix("out.")?);
    let right = root == Root::Task && name.contains('-') && !name.contains('.') && !name.ends_with('-');
    let place = At { start: at_u32(start), end: at_u32(end) };
    right.then(|| (place, format!("a name with `-` is written {}.{id}.out[\"{name}\"]", root.word())))
}

/// Texts are far shorter than 4 GiB.
pub(super) fn at_u32(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}
